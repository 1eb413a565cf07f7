# SPDX-License-Identifier: MIT
"""Questions about the world with their answers: for the question pages of the text and for the
instruction data.

An entry has the wordings of the question, the short answer, sentences that give the reason, and
answers as people say them. $p is a person, $v a village, $j a trade, $a a kind of animal.
"""

from types import SimpleNamespace as Record

from facts import ADULTS, ANIMALS, CHILDREN, FOOD_PARTS, JOBS, VILLAGES
from fact_lines import VillageName

PERSON = {
    "village": Record(
        ask=[
            "Where does $p live?",
            "In which village does $p live?",
            "Where is the home of $p?",
            "Which village does $p come from?",
        ],
        short="$p.village",
        because=["$p has a house in $p.village", "$p lives in $p.village"],
        say=["$p lives in $p.village.", "in $p.village.", "$p.He lives in $p.village."],
    ),
    "job": Record(
        ask=[
            "What is the work of $p?",
            "What does $p do?",
            "What is the trade of $p?",
            "What does $p work as?",
        ],
        short="$p is a $p.trade",
        because=["$p $p.job.does", "$p $p.job.does in $p.village"],
        say=["$p is the $p.trade of $p.village.", "$p.He is a $p.trade.", "$p $p.job.does."],
    ),
    "who_job": Record(
        ask=[
            "Who is the $p.trade of $p.village?",
            "Who $p.job.does?",
            "What is the name of the $p.trade?",
            "Who $p.job.does in $p.village?",
        ],
        short="$p",
        because=["$p is the $p.trade of $p.village", "$p works as the $p.trade in $p.village"],
        say=["$p does.", "that is $p.", "the $p.trade is called $p.", "it is $p from $p.village."],
    ),
    "wear": Record(
        ask=[
            "What does $p wear?",
            "What does $p wear in every season?",
            "Which clothes does $p like?",
        ],
        short="$p.wear",
        because=["$p always wears $p.wear", "you can tell $p by the $p.garb"],
        say=["$p wears $p.wear.", "$p.wear.", "$p.He always wears $p.wear."],
    ),
    "colour": Record(
        ask=[
            "What colour $p.garb_is the $p.garment of $p?",
            "Which colour $p.garb_does the $p.garment of $p have?",
        ],
        short="$p.colour",
        because=["$p wears $p.wear", "people know $p by the $p.garb"],
        say=["$p.colour.", "the $p.garment $p.garb_is $p.colour.", "$p wears $p.wear."],
    ),
    "who_wear": Record(
        ask=["Who wears $p.wear?", "You see someone in $p.wear. Who is it?"],
        short="$p",
        because=["$p always wears $p.wear", "people know $p by the $p.garb"],
        say=["$p does.", "that is $p.", "it is $p."],
    ),
    "pet": Record(
        ask=[
            "Which animal does $p have?",
            "What is the animal of $p?",
            "What animal lives with $p?",
        ],
        short="a $p.animal",
        because=["$p has a $p.animal called $p.pet"],
        say=[
            "$p has a $p.animal called $p.pet.",
            "a $p.animal.",
            "$p.his animal is $p.pet, a $p.animal.",
        ],
    ),
    "pet_name": Record(
        ask=[
            "What is the name of the $p.animal of $p?",
            "What is the $p.animal of $p called?",
            "What does $p call the $p.animal?",
        ],
        short="$p.pet",
        because=["$p has a $p.animal called $p.pet", "the $p.animal of $p is named $p.pet"],
        say=["it is called $p.pet.", "$p.pet.", "the $p.animal is named $p.pet."],
    ),
    "who_pet": Record(
        ask=[
            "Who has a $p.animal called $p.pet?",
            "Whose $p.animal is $p.pet?",
            "To whom does the $p.animal $p.pet belong?",
        ],
        short="$p",
        because=["$p has a $p.animal called $p.pet", "$p.pet is the $p.animal of $p"],
        say=["$p does.", "$p.pet belongs to $p.", "that is $p."],
    ),
    "food": Record(
        ask=[
            "What does $p like to eat?",
            "What is the favourite food of $p?",
            "Which food does $p like best?",
            "What should I cook for $p?",
        ],
        short="$p.food",
        because=["$p likes $p.food best", "the favourite food of $p is $p.food"],
        say=["$p likes $p.food best.", "$p.food.", "$p.his favourite food is $p.food."],
    ),
    "who_food": Record(
        ask=["Who likes $p.food best?", "Whose favourite food is $p.food?"],
        short="$p",
        because=["the favourite food of $p is $p.food", "$p likes $p.food best"],
        say=["$p does.", "that is $p.", "nobody likes it more than $p."],
    ),
    "hobby": Record(
        ask=[
            "What does $p like to do in the evening?",
            "What is the favourite pastime of $p?",
            "What does $p enjoy after work?",
        ],
        short="$p.hobby",
        because=["$p likes $p.hobby in the evening", "$p enjoys $p.hobby"],
        say=["$p likes $p.hobby.", "$p.hobby.", "$p.his favourite pastime is $p.hobby."],
    ),
    "friend": Record(
        ask=[
            "Who is the best friend of $p?",
            "What is the name of the best friend of $p?",
            "Whom does $p like best?",
        ],
        short="$p.friend",
        because=["$p and $p.friend are best friends", "$p.friend is the best friend of $p"],
        say=[
            "$p.his best friend is $p.friend.",
            "$p.friend.",
            "that is $p.friend from $p.friend.village.",
        ],
    ),
    "home": Record(
        ask=[
            "Where does the house of $p stand?",
            "Where in $p.village is the house of $p?",
            "How do I find the house of $p?",
        ],
        short="$p.home",
        because=["the house of $p stands $p.home", "$p lives $p.home in $p.village"],
        say=["it stands $p.home.", "$p.home.", "$p lives $p.home."],
    ),
    "tool": Record(
        ask=[
            "Which tool does $p need for the work?",
            "What is the most important tool of $p?",
            "Which tool belongs to $p?",
        ],
        short="the $p.job.tool",
        because=[
            "$p is a $p.trade and needs the $p.job.tool",
            "a $p.trade works with the $p.job.tool",
        ],
        say=["$p needs the $p.job.tool.", "the $p.job.tool.", "that is the $p.job.tool."],
    ),
    "place": Record(
        ask=["Where does $p work?", "Where do you find $p during the day?"],
        short="$p.job.at",
        because=["$p is the $p.trade and works $p.job.at", "$p $p.job.does $p.job.at"],
        say=["$p works $p.job.at.", "$p.job.at.", "during the day $p is $p.job.at."],
    ),
    "item": Record(
        ask=["From whom can I buy $p.job.item?", "I need $p.job.item. Whom should I ask?"],
        short="$p",
        because=["$p is the $p.trade and sells $p.job.item", "you can buy $p.job.item from $p"],
        say=["from $p.", "ask $p, the $p.trade.", "$p sells it."],
    ),
    "dream": Record(
        ask=["What does $p want to become?", "What is the dream of $p?"],
        short="a $p.dream",
        because=["$p wants to become a $p.dream"],
        say=["$p wants to become a $p.dream.", "a $p.dream."],
    ),
}

VILLAGE = {
    "roofs": Record(
        ask=["What colour are the roofs in $v?", "Which colour do the roofs of $v have?"],
        short="$v.roofs",
        because=["the houses in $v have $v.roofs roofs", "all the roofs of $v are $v.roofs"],
        say=["they are $v.roofs.", "$v.roofs.", "$v has $v.roofs roofs."],
    ),
    "day": Record(
        ask=["When is the market in $v?", "On which day is market day in $v?"],
        short="on $v.day",
        because=["market day in $v is $v.day", "every $v.day there is a market in $v"],
        say=["on $v.day.", "every $v.day.", "market day is $v.day."],
    ),
    "feast": Record(
        ask=["Which feast does $v celebrate?", "What is the feast of $v called?"],
        short="the $v.feast",
        because=[
            "in $v.season $v celebrates the $v.feast",
            "the $v.feast is held in $v in $v.season",
        ],
        say=["the $v.feast.", "it is the $v.feast in $v.season."],
    ),
    "who_feast": Record(
        ask=["Which village celebrates the $v.feast?", "Where is the $v.feast held?"],
        short="$v",
        because=["the $v.feast is held in $v in $v.season", "$v celebrates the $v.feast"],
        say=["$v does.", "in $v.", "the $v.feast is held in $v."],
    ),
    "season": Record(
        ask=["In which season is the $v.feast?", "When is the $v.feast?"],
        short="in $v.season",
        because=["$v celebrates the $v.feast in $v.season"],
        say=["in $v.season.", "every $v.season."],
    ),
    "landmark": Record(
        ask=["What can you see from far away in $v?", "What is $v proud of?"],
        short="the $v.landmark",
        because=["$v is proud of its $v.landmark", "the $v.landmark stands in $v"],
        say=["the $v.landmark.", "$v has a $v.landmark.", "that is the $v.landmark."],
    ),
    "who_landmark": Record(
        ask=["In which village is the $v.landmark?", "Where does the $v.landmark stand?"],
        short="$v",
        because=["the $v.landmark stands in $v", "$v is proud of its $v.landmark"],
        say=["in $v.", "it stands in $v."],
    ),
    "tree": Record(
        ask=["Which tree grows in the middle of $v?", "Under which tree do people meet in $v?"],
        short="the $v.tree",
        because=["a big $v.tree grows in the middle of $v", "in $v people meet under the $v.tree"],
        say=["a $v.tree.", "it is a $v.tree.", "people meet under the $v.tree."],
    ),
    "known": Record(
        ask=["What is $v known for?", "Why do people visit $v?"],
        short="$v.known",
        because=["$v is known for $v.known", "people come to $v for $v.known"],
        say=["for $v.known.", "$v is known for $v.known."],
    ),
    "lie": Record(
        ask=["Where does $v lie?", "Where do I find $v?"],
        short="$v.lie",
        because=["$v is a village $v.lie"],
        say=["$v lies $v.lie.", "$v.lie."],
    ),
}

JOB = {
    "job_tool": Record(
        ask=["Which tool does a $j.name use?", "What does a $j.name need for the work?"],
        short="the $j.tool",
        because=["a $j.name works with the $j.tool"],
        say=["the $j.tool.", "a $j.name needs the $j.tool."],
    ),
    "job_do": Record(
        ask=["What does a $j.name do?", "What is the work of a $j.name?"],
        short="a $j.name $j.does",
        because=["$j.why"],
        say=["a $j.name $j.does.", "a $j.name $j.does, because $j.why."],
    ),
    "job_who": Record(
        ask=["Who works with the $j.tool?", "Which trade needs the $j.tool?"],
        short="the $j.name",
        because=["the $j.name $j.does"],
        say=["the $j.name.", "the $j.name needs it."],
    ),
    "job_at": Record(
        ask=["Where does a $j.name work?", "Where can you meet a $j.name?"],
        short="$j.at",
        because=["a $j.name $j.does $j.at"],
        say=["$j.at.", "a $j.name works $j.at."],
    ),
}

ANIMAL = {
    "eats": Record(
        ask=["What does a $a.name eat?", "What should I give a $a.name to eat?"],
        short="$a.eats",
        because=["$a.plural like $a.eats"],
        say=["a $a.name eats $a.eats.", "$a.eats."],
    ),
    "sleeps": Record(
        ask=["Where does a $a.name sleep?", "Where do $a.plural sleep?"],
        short="$a.sleeps",
        because=["a $a.name sleeps $a.sleeps"],
        say=["$a.sleeps.", "a $a.name sleeps $a.sleeps."],
    ),
    "sound": Record(
        ask=["What sound does a $a.name make?", "What does a $a.name do when it is happy?"],
        short="it $a.sound",
        because=["a happy $a.name $a.sound"],
        say=["a $a.name $a.sound.", "it $a.sound."],
    ),
    "known": Record(
        ask=["What is a $a.name known for?", "What is special about a $a.name?"],
        short="$a.known",
        because=["a $a.name has $a.known"],
        say=["a $a.name has $a.known.", "$a.known."],
    ),
}

FOOD = {
    "parts": Record(
        ask=["What do I need for $food?", "What is needed for $food?", "What goes into $food?"],
        short="$parts",
        because=["for $food you need $parts"],
        say=["you need $parts.", "for that you need $parts.", "$parts."],
    ),
}


def person_keys(person):
    """Kinds of questions that can be asked about the person."""
    keys = [
        "village",
        "wear",
        "colour",
        "who_wear",
        "pet",
        "pet_name",
        "who_pet",
        "food",
        "who_food",
        "hobby",
        "friend",
        "home",
    ]
    return keys + (["dream"] if person.child else ["job", "who_job", "tool", "place", "item"])


def subjects():
    """Everything that can be asked about: (kind, slots, keys), in a fixed order."""
    out = [(PERSON, {"p": p}, person_keys(p)) for p in ADULTS + CHILDREN]
    out += [(VILLAGE, {"v": VillageName(v)}, sorted(VILLAGE)) for v in VILLAGES.values()]
    out += [(JOB, {"j": j}, sorted(JOB)) for j in JOBS.values()]
    out += [(ANIMAL, {"a": a}, sorted(ANIMAL)) for a in ANIMALS.values() if a.name != "tortoise"]
    out += [(FOOD, {"food": f, "parts": parts}, ["parts"]) for f, parts in FOOD_PARTS.items()]
    return out


def question(w, table, slots, key):
    """(question, short answer, reason, spoken answer), all as finished sentences without final stop
    for the short answer and the reason."""
    entry = table[key]
    kept = dict(w.slots)
    w.set(**slots)
    out = (
        w.line(w.pick(entry.ask)),
        w.line(entry.short),
        w.line(w.pick(entry.because)),
        w.line(w.pick(entry.say)),
    )
    w.slots = kept
    return out
