# SPDX-License-Identifier: MIT
"""Conversations: at the fence and the market, in school, with questions and answers about the world."""

from facts import ADULTS, ANIMALS, CHILDREN, GROUPS, OPPOSITE_PAIRS, PEOPLE, VERB_PAIRS
from fact_lines import NOW_LINES, VillageName, fact, keys_of
from grammar import capital, rules
from questions import PERSON, person_keys, question, subjects
from scene import SEASONS, SPOTS, THINGS

rules(
    hello_talk="""
        "Good morning, $b!" "Good morning, $a! {How are you|You are up early}!"
        "Hello, $b. {How is $b.pet|How are things in $b.village}?" "{Very well, thank you|Not bad}. And you?"
        "{What a day|What weather}, $b!" "{You are right|Yes}, $a. {My socks are wet|I love it|It cannot last}."
        "$b! {Have you a moment|Do you have time}?" "For you, always, $a." """,
    bye_talk="""
        "I must go. $a.Pet is waiting." "Give $a.pet {my love|an apple from me}!"
        "{Until tomorrow|See you on Sunday}, $b." "{Until tomorrow|Take care}, $a."
        "It is late. Goodbye, $b!" "Goodbye, $a! {Come again|Sleep well}!"
        "{Shall we eat something|Are you hungry}?" "{Always|Yes}! I would like $b.food, as you know." """,
    chat="""
        "Have you heard? $o has {a new $thing|lost a $thing}." "{No, really|Who says that}?" "$o.He told me so $o.self_word."
        "Where is $o today?" "In $o.village, I think. $o.He {has a cold|has visitors|never leaves the house on such days}."
        "Do you know $o?" "Of course! $o is {$o.title} of $o.village." "{That is the one|Right}."
        "I saw someone in $o.wear on the road." "That {was|must have been} $o."
        "There was a $o.animal in my garden." "Was it $o.pet?" "Yes. I brought $o.pet back to $o."
        "What shall we give $o for the birthday?" "$o likes $o.food best." "{Good idea|Then I will cook}."
        "My $thing is broken." "{Can it be mended|How did that happen}?" "{It fell down|I sat on it|The wind took it}."
        "Will it {rain|snow} tomorrow?" "{Ask the bell ringer|My knee says yes|I hope not}."
        "I cannot sleep at night." "{Count sheep|Drink warm milk}." "I did. {There were too many|It does not help}."
        "Who is the best friend of $o?" "{Do you not know|That is easy}? It is $o.friend from $o.friend.village."
        "I need {somebody who helps me|some help} with the roof." "Then ask the thatcher."
        "What are you carrying there?" "A basket {of apples|of eggs|full of nuts}." "{It looks heavy|Let me help you}."
        "What do you do in the evening?" "I like $b.hobby. And you?" "I like $a.hobby."
        "When is the market in $o.village?" "On $o.place.day, as always."
        "Look, the first {swallow|star|snow|butterfly}!" "Make a wish!" "{I have|Done}. But I will not tell you." """,
)


def chat(w):
    """Two people meet and talk of this and that."""
    a, b = w.some(PEOPLE.values(), 2)
    if w.chance(0.4):
        b = a.friend
    others = w.some([p for p in PEOPLE.values() if p not in (a, b)], 3)
    season = w.pick(SEASONS.values())
    w.set(
        a=a,
        b=b,
        s=season,
        thing=w.pick(THINGS),
        sign=w.pick(season.signs),
        spot=w.pick(
            [
                "at the market",
                "on the bridge",
                "in front of the bakery",
                "at the well",
                "on the road",
                "at the fence",
                "on the bench under the tree",
                "in the boat",
            ]
        ),
    )
    w.one(
        "it was $s.name, and $sign. $A, {$a.title} of $a.village, met $b, {$b.title} of $b.village,"
        " $spot.",
        "$spot $a from $a.village and $b from $b.village met.",
        "$A wore $a.wear, and $b wore $b.wear. So they knew each other from far away. They met"
        " $spot.",
        "two people stood $spot: $a, $a.title, and $b, $b.title.",
    )
    w.paragraph()
    w("@hello_talk")
    for other in others[: w.rng.randrange(2, 4)]:
        w.set(o=other, thing=w.pick(THINGS))
        w.paragraph()
        w("@chat")
    w.paragraph()
    w("@bye_talk")
    w.paragraph()
    w.one(
        "then $a went home to $a.village, and $b went home to $b.village.",
        "they laughed and went their ways.",
        "the bells rang, and the day went on.",
        "$b.pet the $b.animal had listened to everything.",
        "so the talk came to an end, like all good things.",
    )


def question_page(w):
    """Questions and answers about one person, in plain prose."""
    p = w.pick(PEOPLE.values())
    keys = person_keys(p)
    w.rng.shuffle(keys)
    w.maybe(
        w.pick(
            [
                "some questions about %s." % p,
                "what do you know about %s?" % p,
                "%s asks many questions today." % w.pick([c for c in CHILDREN if c is not p]),
            ]
        ),
        0.5,
    )
    for key in keys[: w.rng.randrange(5, 9)]:
        ask, _, because, say = question(w, PERSON, {"p": p}, key)
        w(ask)
        w(say)
        if w.chance(0.25) and because + "." != say:
            w(because + ".")
    w.maybe(fact(w, p, w.pick(keys_of(p)), "name"), 0.5)


MIXED = subjects()


def quiz(w):
    """Questions about this and that; a teacher or a game host asks."""
    askers = [
        "Ruth, the teacher,",
        "Hugo, the innkeeper,",
        "Ivo, who loves riddles,",
        "the old man at the well",
    ]
    asker = w.pick(askers)
    players = [p for p in w.some(PEOPLE.values(), 5) if p.name not in asker][:3]
    w.set(asker=asker, x=players[0], y=players[1], z=players[2])
    w.one(
        "in the evening they play a game. {$Asker asks|$Asker wants to know everything}, and $x, $y"
        " and $z answer.",
        "$Asker asks questions today. $X, $y and $z sit on the bench and think.",
        '"Who knows the valley best?" {asks|says} %s. $X, $y and $z want to try.'
        % asker.rstrip(","),
    )
    w.paragraph()
    for i in range(w.rng.randrange(5, 8)):
        table, slots, keys = w.pick(MIXED)
        ask, _, because, say = question(w, table, slots, w.pick(keys))
        player = players[i % 3]
        w('"%s" "%s" says %s.' % (ask, say[:-1] + ",", player))
        if w.chance(0.3):
            w.one(
                '"Right! %s."' % because,
                '"{Yes|Correct}," says the other. "%s."' % because,
                "that is {right|true}: " + because + ".",
            )
    w.paragraph()
    w.one(
        "$X has won, and the prize is {an apple|a biscuit|a big laugh}.",
        "all of them know a lot.",
        '"Tomorrow I will ask harder ones," says the one who asks.',
        "then the game is over.",
    )


SUBJECTS = [
    "the cat",
    "the dog",
    "the old man",
    "the girl",
    "the boy",
    "the teacher",
    "the baker",
    "the goose",
    "the miller",
    "the fox",
    "the carpenter",
    "the gardener",
    "my friend",
    "the neighbour",
    "the child",
]
OBJECTS = {
    "walks": ["to the mill", "along the river"],
    "sleeps": ["in the hay", "by the stove"],
    "eats": ["an apple", "some bread"],
    "carries": ["a basket", "the wood"],
    "sings": ["a song", "in the garden"],
    "finds": ["a coin", "the key"],
    "brings": ["the milk", "a letter"],
    "makes": ["a chair", "soup"],
    "sees": ["the moon", "a star"],
    "opens": ["the door", "the window"],
    "closes": ["the gate", "the book"],
    "buys": ["a hat", "some eggs"],
    "sells": ["cheese", "two pots"],
    "reads": ["a book", "the letter"],
    "writes": ["a letter", "a word"],
    "helps": ["the farmer", "a friend"],
    "waits": ["at the gate", "for the cart"],
    "runs": ["home", "over the bridge"],
    "drinks": ["some water", "the milk"],
    "builds": ["a house", "a wall"],
    "cooks": ["a stew", "the fish"],
    "washes": ["the cups", "the window"],
    "mends": ["the net", "a shoe"],
    "catches": ["a fish", "the ball"],
    "gives": ["the hen some corn", "the child an apple"],
    "takes": ["the spoon", "a chair"],
    "looks": ["at the sky", "out of the window"],
    "works": ["in the garden", "all day"],
    "plays": ["with a ball", "the flute"],
    "teaches": ["the children", "a song"],
    "cuts": ["the bread", "the rope"],
    "holds": ["the lamp", "the ladder"],
    "hears": ["the bell", "a bird"],
    "feeds": ["the ducks", "the goat"],
    "calls": ["the dog", "a friend"],
    "paints": ["the door", "a picture"],
}


def simple_sentence(w):
    """(sentence now, sentence in the past, verb now, verb in the past), without full stops."""
    now, past = w.pick(VERB_PAIRS)
    who = w.pick(SUBJECTS) if w.chance(0.6) else w.pick(PEOPLE.values()).name
    rest = w.pick(OBJECTS[now])
    return (
        capital("%s %s %s" % (who, now, rest)),
        capital("%s %s %s" % (who, past, rest)),
        now,
        past,
    )


def group_words(w, wanted):
    """Three words of which just one belongs to the wanted group, and that one."""
    right = w.pick(GROUPS[wanted].split())
    others = []
    for name in w.some([g for g in sorted(GROUPS) if g != wanted], 4):
        word = w.pick(GROUPS[name].split())
        if word not in GROUPS[wanted].split() and word not in others and len(others) < 2:
            others.append(word)
    words = others + [right]
    w.rng.shuffle(words)
    return words, right


def with_article(word):
    return ("an " if word[0] in "aeiou" else "a ") + word


def lesson(w):
    """An hour in school: past tense, opposites, groups of words."""
    pupils = w.some(CHILDREN, 3)
    w.set(x=pupils[0], y=pupils[1], z=pupils[2])
    w.one(
        "Ruth, the teacher, stands at the board. The chalk is in her hand.",
        "it is morning in the school of Stonebridge. Ruth asks, and the children answer.",
        "today Ruth gives the children some tasks.",
    )
    kind = w.rng.randrange(3)
    w.paragraph()
    for i in range(w.rng.randrange(3, 6)):
        pupil = pupils[i % 3]
        if kind == 0:
            now, past, verb, verb_past = simple_sentence(w)
            w(
                w.pick(
                    [
                        'Ruth writes: "%s." "Now put it into the past," she says. %s says: "%s."',
                        '"%s," says Ruth. "And yesterday?" %s answers: "%s."',
                        'what is the past of the sentence "%s"? %s writes: "%s."',
                    ]
                )
                % (now, pupil, past)
            )
            w.maybe("%s becomes %s." % (capital(verb), verb_past), 0.6)
        elif kind == 1:
            a, b = w.pick(OPPOSITE_PAIRS)
            if w.chance(0.5):
                a, b = b, a
            w.one(
                '"What is the opposite of %s?" asks Ruth. "%s," says %s.' % (a, capital(b), pupil),
                'Ruth says: "%s." %s says the opposite: "%s."' % (capital(a), pupil, capital(b)),
                "the opposite of %s is %s, and %s knows it at once." % (a, b, pupil),
            )
            w.maybe("what is not %s is %s." % (a, b), 0.4)
        else:
            group = w.pick(sorted(GROUPS))
            words, right = group_words(w, group)
            w(
                w.pick(
                    [
                        '"%s," reads Ruth. "Which of these words names %s?" "%s," says %s.',
                        'on the board stand three words: %s. Which one is %s? "%s!" cries %s.',
                    ]
                )
                % (", ".join(words), with_article(group), capital(right), pupil)
            )
            w.maybe(
                "%s is %s."
                % (
                    capital(with_article(right)) if group in ("animal", "tool") else capital(right),
                    with_article(group),
                ),
                0.6,
            )
    w.paragraph()
    w.one(
        "then the bell rings, and the children run outside.",
        '"Well done," says Ruth. "That is enough for today."',
        "$x has made no mistake, and $y has made only one.",
        "after the lesson $z goes home and shows $z.pet the $z.animal what $z.he has learned.",
    )
    w.maybe(fact(w, w.pick(pupils), w.pick(["dream", "village", "pet", "food"]), "name"), 0.7)


def read_and_ask(w):
    """A short text, then questions that the text answers."""
    a, b = w.some(PEOPLE.values(), 2)
    thing, spot = w.pick(THINGS), w.pick(SPOTS)
    w.set(
        a=a,
        b=b,
        thing=thing,
        spot=spot,
        n=w.pick(["two", "three", "four", "five", "seven"]),
        fruit=w.pick(["apples", "pears", "plums", "nuts", "eggs"]),
        day=w.pick(["Monday", "Tuesday", "Friday", "Sunday"]),
    )
    w.one(
        "Ruth reads a short text to the children.",
        "below is a short text. Read it, and then answer.",
        "read this:",
    )
    w.paragraph()
    w("on $day $a found a $thing $spot. $A brought it to $b, and $b gave $a.him $n $fruit.")
    w.paragraph()
    asked = [
        ("Who found the $thing?", "$A did."),
        ("Where was the $thing?", "it was $spot."),
        ("What did $b give to $a?", "$n $fruit."),
        ("On which day did it happen?", "on $day."),
        ("Who got the $thing in the end?", "$b got it."),
        ("How many $fruit did $a get?", "$n."),
    ]
    for ask, say in w.some(asked, 4):
        w(ask)
        w(say)
    w.one("the text says so.", "whoever reads well can answer well.", "it is all in the text.")
    w.maybe(
        "and what does the text not say? It does not say %s."
        % w.pick(
            ["what $b did with the $thing", "who had lost the $thing", "if it rained on $day"]
        ),
        0.6,
    )
    w(fact(w, a, w.pick(keys_of(a)), "name", NOW_LINES))


def guess(w):
    """Who or what is meant? Facts first, the name last."""
    kind = w.rng.randrange(3)
    w(
        w.pick(["who am I?", "guess!", "here is a riddle.", "can you guess it?"])
        if kind != 2
        else w.pick(["which village is it?", "guess the village!", "I am thinking of a village."])
    )
    if kind == 0:
        p = w.pick(PEOPLE.values())
        w.set(p=p)
        lines = [
            "I live in $p.village.",
            "I wear $p.wear.",
            "my $p.animal is called $p.pet.",
            "I like $p.food best.",
            "in the evening I like $p.hobby.",
            "my best friend is $p.friend.",
            "my house stands $p.home.",
        ]
        lines += (
            ["one day I want to be a $p.dream."]
            if p.child
            else [
                "I work $p.job.at.",
                "I need the $p.job.tool.",
                "you can buy $p.job.item from me.",
            ]
        )
        for line in w.some(lines, w.rng.randrange(4, 7)):
            w(line)
        w.paragraph()
        w.one(
            "I am $p, {$p.title} of $p.village.",
            "the answer is $p.",
            "it is $p, of course.",
            "did you guess it? I am $p.",
        )
        w(fact(w, p, w.pick(keys_of(p)), "name"))
    elif kind == 1:
        a = w.pick(ANIMALS.values())
        w.set(k=a)
        lines = [
            "I eat $k.eats.",
            "I sleep $k.sleeps.",
            "I am known for one thing: $k.known.",
            "when an animal of my kind is happy, it $k.sound.",
        ]
        w.rng.shuffle(lines)
        for line in lines:
            w(line)
        w.paragraph()
        w("I am a $k.name.")
        owners = [p for p in PEOPLE.values() if p.animal == a.name]
        for p in w.some(owners, 2):
            w.set(p=p)
            w(
                "{$p has a $k.name called $p.pet|the $k.name of $p is called $p.pet|$p.pet is the"
                " $k.name of $p}."
            )
    else:
        v = w.pick([p.place for p in ADULTS])
        w.set(v=VillageName(v))
        lines = [
            "its roofs are $v.roofs.",
            "market day is $v.day.",
            "it celebrates the $v.feast in $v.season.",
            "it is known for $v.known.",
            "it lies $v.lie.",
            "a $v.tree grows in the middle.",
            "it is proud of its $v.landmark.",
        ]
        for line in w.some(lines, w.rng.randrange(4, 7)):
            w(line)
        w.paragraph()
        w("{the answer is|it is|that can only be} $v.")
        p = w.pick([p for p in PEOPLE.values() if p.place is v])
        w(fact(w, p, "village", "name"))
