# SPDX-License-Identifier: MIT
"""How things work in the valley: small explanations, recipes, what words mean."""

from explain_tables import TOPICS, WORDS
from facts import ADULTS, ANIMALS, FOOD_PARTS, PEOPLE, VILLAGES
from grammar import capital, listing
from scene import SEASONS

TRADER = {p.trade: p for p in ADULTS}


def explanation(w):
    """A question of a child or a heading, then the steps."""
    topic, ask, steps = w.pick(TOPICS)
    child, adult = w.pick(PEOPLE.values()), w.pick(ADULTS)
    while adult is child:
        adult = w.pick(ADULTS)
    w.set(c=child, a=adult, ask=ask, topic=topic)
    style = w.rng.randrange(5)
    if style == 0:
        w(
            '"$ask" asked $c. $A, the $a.trade, {thought for a moment|put down the $a.job.tool} and'
            " explained it."
        )
    elif style == 1:
        w("$ask")
    elif style == 2:
        w("%s %s" % (w.pick(["#", "##", "###"]), capital(topic)))
        w.paragraph()
        w("$ask")
    elif style == 3:
        w("$c {wanted to know|asked}: $ask {So|Then} $a told $c.him.")
    else:
        w(
            "today the children in the school of Stonebridge learn about $topic. $ask Ruth, the"
            " teacher, explains it."
        )
    if w.chance(0.5):
        w.paragraph()
    for step in steps:
        w(step)
    w.paragraph()
    if style in (0, 3):
        w.one(
            '"Now I understand," said $c.',
            '"And who found that out?" asked $c. "People who looked closely," said $a.',
            '"Is that really true?" asked $c. "Go and see," said $a.',
            "$c thought about it all day.",
            '"Thank you," said $c. "Tomorrow I will ask something else."',
        )
        w.maybe("then $c ran home and told it to $c.friend, $c.his best friend.")
    elif style == 4:
        w.one(
            "the children write it down.",
            "then they paint a picture of it.",
            "Fay asks a question, Pim asks another one, and soon the hour is over.",
        )
    else:
        w.one(
            "that is all.",
            "so simple it is, and yet it is a small wonder.",
            "now you know.",
            "$A, the $a.trade of $a.village, once explained it in this way.",
        )
    if w.chance(0.6):
        w.one(
            "$a lives in $a.village and $a.job.does.",
            "$c lives in $c.village.",
            "if you want to know more, ask $a in $a.village.",
        )


def words(w):
    """Meanings of words, as they stand in a school book."""
    chosen = w.some(WORDS, w.rng.randrange(4, 7))
    style = w.rng.randrange(3)
    if style == 0:
        w("%s What words mean" % w.pick(["#", "##", "###"]))
        w.paragraph()
        for word, meaning, example in chosen:
            w("%s: %s. For example, %s." % (capital(word), meaning, example))
            w.paragraph()
    elif style == 1:
        w(
            "{In the school of Stonebridge|In the school} Ruth, the teacher, asks what words mean."
            " The children answer."
        )
        for word, meaning, example in chosen:
            child = w.pick([p for p in PEOPLE.values() if p.child])
            w(
                '"What is the meaning of the word %s?" asks Ruth. "%s," says %s. "%s."'
                % (word, capital(meaning), child, capital(example).replace('"', "'"))
            )
    else:
        w("below is a list of words. Each word is explained and has an example.")
        w.paragraph()
        for word, meaning, example in chosen:
            w("%s means this: %s. %s." % (capital(word), meaning, capital(example)))
    w.paragraph()
    w.one(
        "words are like tools: you must know what they are good for.",
        "write a sentence with each of these words.",
        "if a word is new to you, ask what it means.",
        "a good book provides many words.",
    )


def recipe(w):
    """How somebody in the valley cooks a dish."""
    cook = w.pick(PEOPLE.values())
    food = cook.food
    parts = FOOD_PARTS[food]
    w.set(c=cook, food=food, parts=parts, f=cook.friend)
    if w.chance(0.5):
        w("%s How to make %s" % (w.pick(["#", "##", "###"]), food))
        w.paragraph()
        w(
            "you need $parts. {This recipe|It} comes from $c in $c.village, who likes $food best of"
            " all."
        )
    else:
        w.one(
            "$c, {$c.title} of $c.village, likes $food best. This is how $c.he makes it.",
            "$f asked $c how to make $food. $c wrote it down.",
            "for $food you need $parts. $c from $c.village knows how it is done.",
        )
        w.maybe("first put everything on the table: $parts.")
    w.paragraph()
    if "soup" in food or "stew" in food or "porridge" in food:
        steps = [
            "wash everything well and cut it into small pieces.",
            "put a big pot on the fire.",
            "let it cook slowly for {half an hour|an hour}.",
            "stir it with a wooden spoon now and then.",
            "put the lid on and wait.",
            "taste it. {Does it need salt?|A little salt makes it better.}",
        ]
    elif "jam" in food:
        steps = [
            "pick the berries early in the morning.",
            "wash them and take away the leaves.",
            "cook them in a wide pot with the honey.",
            "stir, stir and stir again.",
            "when it is thick, pour it into clean jars.",
            "close the jars while they are hot.",
        ]
    elif "smoked" in food:
        steps = [
            "clean the fish with cold water.",
            "rub it with salt and leave it for a night.",
            "hang it in the smoke of a small fire.",
            "do not hurry. It needs a whole day.",
            "turn it once at noon.",
        ]
    elif "baked" in food or "roast" in food:
        steps = [
            "make a good fire in the oven.",
            "wash everything and dry it well.",
            "put it into a flat dish.",
            "leave it in the oven until it is brown and soft.",
            "turn it once, so that both sides get warm.",
        ]
    elif "dumplings" in food or food == "pancakes":
        steps = [
            "mix everything in a big bowl.",
            "let it rest for {a while|half an hour}.",
            "take a spoon of it at a time.",
            "cook it until it is golden.",
            "do not make too many at once, or they will stick together.",
        ]
    else:
        steps = [
            "mix the flour with the other things in a big bowl.",
            "work it with both hands.",
            "put it into a round form.",
            "bake it in the oven until it is golden.",
            "let it cool before you cut it.",
            "do not open the oven too early.",
        ]
    numbered = w.chance(0.4)
    for i, step in enumerate(steps):
        if numbered:
            w.paragraph()
            w("%d. %s" % (i + 1, capital(w.expand(step))))
        elif i == len(steps) - 1 or w.chance(0.75):
            w(w.pick(["{then|after that} ", "", ""] if i else [""]) + step)
        else:
            w(step)
    w.paragraph()
    w.one(
        "it tastes best when it is warm.",
        "it is enough for {four|six} hungry people.",
        "$f, the best friend of $c, always wants more.",
        "$c eats it {on the bench in front of the house|in the evening}, and $c.pet the $c.animal"
        " gets the rest.",
        "share it with your neighbours.",
    )


def animal_page(w):
    """One kind of animal, and who has one."""
    kind = w.pick([a for a in ANIMALS.values() if a.name != "tortoise" or w.chance(0.3)])
    owners = [p for p in PEOPLE.values() if p.animal == kind.name]
    w.set(k=kind)
    if w.chance(0.4):
        w("%s The %s" % (w.pick(["#", "##", "###"]), kind.name))
        w.paragraph()
    lines = [
        "a $k.name eats $k.eats.",
        "it sleeps $k.sleeps.",
        "you can tell a $k.name by one thing: $k.known.",
        "when a $k.name is happy, it $k.sound.",
    ]
    w.rng.shuffle(lines)
    w.one(
        "there are many $k.plural in the Wend Valley.",
        "everybody in the valley knows the $k.name.",
        "do you know the $k.name?",
        "the $k.name is an animal that children like.",
    )
    for line in lines:
        w(line)
    w.one(
        "$k.plural need water every day, and they need peace.",
        "a $k.name is not a toy.",
        "if you are quiet, you can watch a $k.name for hours.",
        "young $k.plural are small and curious.",
        "in winter $k.plural need more food and a dry place.",
    )
    w.paragraph()
    for p in w.some(owners, 3):
        w.set(p=p)
        w.one(
            "$p of $p.village has a $k.name called $p.pet.",
            "the $k.name of $p is called $p.pet.",
            "in $p.village lives $p.pet, the $k.name of $p.",
            "$p.pet is a $k.name and belongs to $p.",
        )
        w.maybe(
            w.pick(
                [
                    "$p.He takes $p.pet along to the market.",
                    "once $p.pet ran away, but it came back by itself.",
                    "$p.pet likes $p.friend too, the best friend of $p.",
                    "$p says that $p.pet understands every word.",
                ]
            ),
            0.7,
        )
    if not owners:
        w.one(
            "nobody in the valley has one in the house.",
            "it lives outside, and people let it be.",
            "children count them in spring.",
        )


def season_page(w):
    """A season in the valley."""
    season = w.pick(SEASONS.values())
    now = {
        "spring": [
            "the snow melts, and the stream becomes loud",
            "the farmer brings out the plough",
            "the shepherd counts the young lambs",
            "flowers stand in the grass",
            "the birds come back and build their nests",
            "people open their windows",
            "the gardener puts seeds into the earth",
            "it rains often, and everything turns green",
        ],
        "summer": [
            "the sun rises early and sets late",
            "the bees hum from morning to evening",
            "the children swim in the lake",
            "the hay is brought in",
            "people sit in front of their houses until late",
            "the cherries are ripe",
            "even the dogs lie in the shade",
            "sometimes a storm comes, and then the air is fresh again",
        ],
        "autumn": [
            "the leaves turn red and yellow",
            "the apples are picked",
            "fog lies over the river",
            "the miller has more work than ever",
            "the squirrel hides its nuts",
            "the wild geese fly away",
            "people carry wood into their sheds",
            "the evenings are good for stories",
        ],
        "winter": [
            "snow lies on the roofs",
            "the pond is frozen",
            "the candle maker sells many candles",
            "the children build snow castles",
            "the animals stay in the stable",
            "people knit socks and mend their tools",
            "the stars are very bright",
            "everybody likes to be near the stove",
        ],
    }[season.name]
    w.set(s=season)
    if w.chance(0.4):
        w("%s %s" % (w.pick(["#", "##", "###"]), capital(season.name)))
        w.paragraph()
    w.one(
        "$s.name in the Wend Valley has its own sounds and smells.",
        "this is what $s.name is like in the valley.",
        "in $s.name much changes.",
        "what do people do in $s.name?",
    )
    for line in w.some(now, w.rng.randrange(5, 8)):
        w(line + ".")
    w.paragraph()
    feasts = [v for v in VILLAGES.values() if v.season == season.name]
    for v in feasts:
        w.set(fv=v)
        w.one(
            "in $s.name $fv.name celebrates the $fv.feast.",
            "the $fv.feast of $fv.name is in $s.name.",
            "then comes the $fv.feast in $fv.name, and everybody goes there.",
        )
    p = w.pick(PEOPLE.values())
    w.set(p=p)
    w.one(
        "$p, {$p.title} of $p.village, likes $s.name best.",
        "ask $p in $p.village: $p.he waits for $s.name all year.",
        "$p says that nothing is as fine as a $s.name morning in $p.village.",
        "in $s.name $p puts on $p.his $p.garb and walks through $p.village with $p.pet the"
        " $p.animal.",
    )
    w.maybe(
        '"{Every season has its work|Nothing stays as it is}," says $p, "{and every season has its'
        ' joy|and that is good}."',
        0.5,
    )


def trade_page(w):
    """What somebody with a trade does all day."""
    p = w.pick(ADULTS)
    w.set(p=p, j=p.job)
    if w.chance(0.35):
        w("%s The work of the %s" % (w.pick(["#", "##", "###"]), p.trade))
        w.paragraph()
    w.one(
        "what does a $j.name do? A $j.name $j.does.",
        "a $j.name $j.does.",
        "everybody needs the $j.name, because $j.why.",
    )
    w.one(
        "the work is done $j.at.",
        "a $j.name works $j.at.",
        "if you look for the $j.name, go to $j.place.",
    )
    w.one(
        "the most important tool is the $j.tool.",
        "without the $j.tool nothing can be done.",
        "a good $j.name looks after the $j.tool.",
        "in the hands of a $j.name you often see the $j.tool.",
    )
    w.maybe("why is that useful? Because $j.why.", 0.6)
    w.one(
        "it takes {three|four|five} years to learn this work.",
        "it is hard work, but it is never dull.",
        "you must get up early and have patience.",
        "you need strong hands and a clear head.",
    )
    w.paragraph()
    w.one(
        "in the Wend Valley the $j.name is called $p. $p.He lives in $p.village.",
        "the $j.name of the valley is $p from $p.village.",
        "$p of $p.village is a $j.name.",
    )
    w.one(
        "if you need $j.item, go to $p.",
        "people come from far away to buy $j.item.",
        "from $p you can buy $j.item.",
    )
    w.maybe("$p learned it from {an uncle|an old neighbour|$p.his mother|$p.his father}.", 0.6)
    w.maybe("$p has a $p.animal called $p.pet, and $p.pet watches {the work|all day}.", 0.5)
    w.one(
        '"{I would not like to do anything else|No two days are the same}," says $p.',
        '"The first year I made only mistakes," says $p and laughs.',
        "after work $p likes $p.hobby.",
        "in the evening $p eats $p.food and is content.",
        '"What do you like best about it?" people ask. "{The quiet hours in the morning|The'
        ' people}," says $p.',
    )
    others = [q for q in ADULTS if q is not p]
    other = w.pick(others)
    w.set(q=other)
    w.maybe("$q, the $q.trade, needs the help of $p from time to time, and $p needs $q too.", 0.5)
    w.maybe(
        "so the trades of the valley live from each other: %s."
        % listing("the " + x.trade for x in w.some(others, 3)),
        0.25,
    )
