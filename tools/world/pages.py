# SPDX-License-Identifier: MIT
"""Portraits of people and villages, letters, diaries, lists and notices: the facts in many forms."""

from facts import ADULTS, CHILDREN, FOOD_PARTS, JOBS, PEOPLE, RIVER, VALLEY, VILLAGES
from fact_lines import (
    ABOUT_LINES,
    VILLAGE_LINES,
    VillageName,
    fact,
    food_line,
    keys_of,
    pet_line,
    village_fact,
)
from grammar import capital, listing, rules
from scene import SEASONS, THINGS

rules(
    news="""
        yesterday {$o.pet|the $o.animal of $o} fell into the $v.water, but nothing bad happened.
        $o, {$o.title} of $o.village, was here on a visit and told us many things.
        last week the wind broke a branch of the old $v.tree.
        I have a cold, but mint tea helps.
        on $v.day I was at the market and bought $j.item.
        the $v.feast was wonderful. We danced until midnight.
        $j.item is hard to find this year, people say.
        my $thing is gone. I have looked everywhere.
        I have learned a new song and sing it all day long.
        there is a hole in my roof, and the rain drips on my bed.
        two swallows have built a nest above my door.
        I saw a fox {in the snow|at the edge of the wood|behind the house}. It looked at me for a long time.
        my clock has stopped, so I do not know what time it is. It does not matter.
        $o asked about you. I said that you are well.
        on Sunday I walked along the river and thought of you.
        this morning {the fog was so thick|the sun was so bright} that I could not see the $v.landmark.
        I tried to make $o.food, but it was burnt.""",
    letter_end="""
        {come and visit me soon|write to me soon|I hope to see you at the $v.feast}.
        {give my greetings to $y.pet|a kiss for $y.pet the $y.animal}.
        {when will you come to $v|what is new in $y.village}?
        I will come to $y.village {in two weeks|on $y.place.day|when the work is done}.
        the candle is nearly burnt down, so I must stop now.""",
    rule_line="""
        do not run on the bridge.
        close the gate behind you.
        do not feed the geese with cake.
        wipe your shoes before you come in.
        say thank you, even for small things.
        put the tools back where you found them.
        ask before you take.
        do not play with fire.
        help those who carry heavy things.
        wash your hands before you eat.
        be quiet when the owl sleeps.
        bring back what you borrow.
        do not shout near the bees.
        share your bread.""",
)


def portrait(w):
    """Most facts of one person, in any order; often some of a second one."""
    p = w.pick(PEOPLE.values())
    w.set(p=p)
    if w.chance(0.25):
        w("%s $p" % w.pick(["#", "##", "###"]))
        w.paragraph()
    elif w.chance(0.3):
        w.one(
            "this is $p.",
            "do you know $p?",
            "here is something about $p.",
            "who is $p?",
            "let me tell you about $p.",
        )
    _facts(w, p, w.rng.randrange(4, 9))
    w.maybe(
        w.pick(
            [
                "people like $p, because $p.he {listens well|laughs often|keeps every promise}.",
                (
                    '"{Hurry slowly|One thing after the other|Tomorrow is another day}," $p likes'
                    " to say."
                ),
                "$p is {quiet|cheerful|careful|curious|patient}, and everybody knows it.",
            ]
        ),
        0.6,
    )
    if w.chance(0.65):
        other = p.friend if w.chance(0.5) else w.pick([q for q in PEOPLE.values() if q is not p])
        w.set(p=other)
        w.paragraph()
        w.one(
            "and then there is $p.",
            "now to $p.",
            "$p is somebody else.",
            "quite different is $p.",
            "",
        )
        _facts(w, other, w.rng.randrange(3, 6))


def _facts(w, p, count):
    """So many facts of the person, beginning with the village or the trade."""
    start = ["village"] if p.child else w.pick([["job"], ["village", "job"], ["job", "village"]])
    rest = [k for k in keys_of(p) if k not in start]
    w.rng.shuffle(rest)
    for i, key in enumerate(start + rest[:count]):
        if i and key in ABOUT_LINES and w.chance(0.22):
            w(fact(w, p, key, "name", ABOUT_LINES))
        else:
            w(fact(w, p, key, "name" if i == 0 else None))
        if key == "pet":
            w.maybe(pet_line(w, p), 0.7)
        elif key == "food":
            w.maybe(food_line(w, p), 0.5)
        elif key == "friend" and w.chance(0.4):
            w(
                fact(
                    w,
                    p.friend,
                    w.pick(["village", "wear"] + ([] if p.friend.child else ["job"])),
                    "name",
                )
            )


def village_page(w):
    """A village, then some people who live there."""
    place = w.pick(VILLAGES.values())
    keys = [k for k in sorted(VILLAGE_LINES) if k != "lie"]
    w.rng.shuffle(keys)
    if w.chance(0.3):
        w("%s %s" % (w.pick(["#", "##", "###"]), place.name))
        w.paragraph()
    w(village_fact(w, place, "lie"))
    for key in keys[: w.rng.randrange(4, len(keys) + 1)]:
        w(village_fact(w, place, key))
    w.paragraph()
    residents = [p for p in PEOPLE.values() if p.place is place]
    w.maybe(
        w.pick(
            [
                "some of the people of %s:" % place.name,
                "who lives in %s?" % place.name,
                "this book tells of six people from %s." % place.name,
            ]
        ),
        0.4,
    )
    for p in w.some(residents, w.rng.randrange(2, 5)):
        key = w.pick(
            ["job", "work", "home", "wear", "pet"]
            if not p.child
            else ["dream", "home", "wear", "pet"]
        )
        w(fact(w, p, key, "name"))


def valley_page(w):
    """The whole valley with its six villages."""
    places = w.some(VILLAGES.values(), 6)
    w.set(n=listing(v.name for v in places))
    w.one(
        "there are six villages in %s: $n." % VALLEY,
        "%s is not large. It has six villages, and their names are $n." % VALLEY,
        "through %s flows %s. Along the water and on the hills lie six villages: $n."
        % (VALLEY, RIVER),
    )
    key = w.pick(["roofs", "day", "known", "lie", "landmark", "feast", "tree"])
    for v in places:
        w(village_fact(w, v, key))
    w.paragraph()
    w.one(
        "if you walk from one end to the other, you need two days.",
        "the roads meet in Pinecross, and the carts meet in Stonebridge.",
        "the people know each other well.",
        "no village is like the other, and each of them is proud.",
    )
    p, q = w.some(PEOPLE.values(), 2)
    w(fact(w, p, "village", "name"))
    w(fact(w, q, "village", "name"))


def contrast(w):
    """Two people side by side."""
    a = w.pick(PEOPLE.values())
    b = a.friend if w.chance(0.4) else w.pick([p for p in PEOPLE.values() if p is not a])
    w.set(a=a, b=b)
    w.one(
        "$a and $b are very different.",
        "$a and $b know each other well.",
        "who is who? Here are $a and $b.",
        "compare $a with $b.",
    )
    lines = {
        "village": [
            "$a lives in $a.village, and $b lives in $b.village.",
            "$a comes from $a.village, but $b comes from $b.village.",
        ],
        "wear": [
            "$a wears $a.wear, while $b wears $b.wear.",
            "you can tell $a by the $a.garb and $b by the $b.garb.",
        ],
        "pet": [
            "$a has a $a.animal called $a.pet, and $b has a $b.animal called $b.pet.",
            "the $a.animal $a.pet belongs to $a, the $b.animal $b.pet belongs to $b.",
        ],
        "food": [
            "$a likes $a.food best, and $b likes $b.food best.",
            "when $a eats $a.food, $b would rather have $b.food.",
        ],
        "hobby": [
            "in the evening $a likes $a.hobby, but $b prefers $b.hobby.",
            "$a enjoys $a.hobby, $b enjoys $b.hobby.",
        ],
        "home": ["the house of $a stands $a.home, that of $b stands $b.home."],
    }
    if not a.child and not b.child:
        lines["job"] = [
            "$a is a $a.trade, and $b is a $b.trade.",
            "$a $a.job.does. $b does something else: $b.he $b.job.does.",
        ]
        lines["tool"] = ["$a needs the $a.job.tool, and $b needs the $b.job.tool."]
    if a.village == b.village:
        lines["village"] = ["both of them live in $a.village."]
    keys = sorted(lines)
    w.rng.shuffle(keys)
    for i, key in enumerate(keys[: w.rng.randrange(4, len(keys) + 1)]):
        w(w.pick(lines[key]))
        if i == 2:
            w.paragraph()
    if a.friend is b:
        w.one(
            "and yet they are best friends.",
            "they are best friends all the same.",
            "different or not: $a and $b are best friends.",
        )
    else:
        w.one(
            "but both of them {love a good story|get up early|are afraid of thunder|like snow}.",
            "the best friend of $a is $a.friend, and the best friend of $b is $b.friend.",
            "there is room for both in the valley.",
        )


def set_letter(w):
    a = w.pick(PEOPLE.values())
    b = a.friend if w.chance(0.6) else w.pick([p for p in PEOPLE.values() if p is not a])
    o = w.pick([p for p in PEOPLE.values() if p is not a and p is not b])
    season = w.pick(SEASONS.values())
    w.set(
        x=a,
        y=b,
        o=o,
        v=VillageName(a.place),
        s=season,
        thing=w.pick(THINGS),
        j=w.pick([j for j in JOBS.values() if not a.job or j is not a.job]),
    )
    return a, b, season


I_LINES = [
    "my {old |}$x.garb @garb still good, although I wear @it every day.",
    "my $x.animal $x.pet is {well|getting fat|as lazy as ever}.",
    "$x.pet, my $x.animal, {has learned to open the door|sleeps while I write this}.",
    "this evening I will eat $x.food, which I like best of all.",
    "in the evening I like $x.hobby, as you know.",
    "here in $x.village, $x.place.lie, all is well.",
]
WORK_LINES = [
    "I {have been busy|had a lot of work} $x.job.at.",
    "as a $x.trade I have much to do in $s.name.",
    "the $x.job.tool is broken again, and without it a $x.trade can do nothing.",
    "I {sold|gave away} $x.job.item today.",
    "my work goes well: I $x.job.do.",
]
CHILD_LINES = [
    "in school we learned to count to a thousand.",
    "I still want to become a $x.dream.",
    "Ruth, our teacher, says that I write well.",
]


def own_lines(w, person):
    lines = I_LINES + (CHILD_LINES if person.child else WORK_LINES)
    plural = person.garment == "boots"
    return [
        line.replace("@garb", "are" if plural else "is").replace("@it", "them" if plural else "it")
        for line in lines
    ]


def letter(w):
    """A letter, often between best friends."""
    a, b, season = set_letter(w)
    w("Dear $y,")
    w.paragraph()
    w.one(
        "how are you? I am {well|fine}.",
        "thank you for your letter. It {made me laugh|came yesterday}.",
        "I have not written for a long time.",
        "it is $s.name here in $v, and I am sitting at the window.",
        "today I have something to tell you.",
    )
    for line in w.some(own_lines(w, a), w.rng.randrange(2, 4)):
        w(line)
    w("@news")
    w("@news")
    w.maybe("@news")
    w.paragraph()
    w.maybe(
        w.pick(
            [
                "have you eaten $y.food lately? I know that you like it best.",
                "do you still wear the $y.garb?",
                "do you still like $y.hobby?",
                "is it true that $y.pet the $y.animal can {dance|open doors|count to three}?",
                "I hope that your $y.animal $y.pet is well.",
            ]
        ),
        0.8,
    )
    w("@letter_end")
    w.paragraph()
    w(
        ("{your friend|your best friend}" if a.friend is b else "{yours|with kind greetings},")
        + " $x{| from $x.village}"
    )


def diary(w):
    """Some days in the words of the one who lives them."""
    a, _, season = set_letter(w)
    others = w.some([p for p in PEOPLE.values() if p is not a], 3)
    w.one(
        "from the diary of $x, {$x.title} of $x.village", "$x writes in a small book every evening."
    )
    w.paragraph()
    days = ["Monday", "Tuesday", "Wednesday", "Thursday", "Friday", "Saturday", "Sunday"]
    start = w.rng.randrange(5)
    lines = own_lines(w, a)
    w.rng.shuffle(lines)
    for i in range(3):
        other = others[i]
        w.set(o=other, z=other)
        w("%s. " % days[start + i])
        w.one(
            "it rained all day.",
            "the sun was shining.",
            "it was cold and {grey|windy}.",
            "I slept too long.",
            "I got up before the birds.",
            "a quiet day.",
        )
        w(lines[i])
        w.one(
            "I met $z, {$z.title} of $z.village, and we talked about $z.pet the $z.animal.",
            "$z came by in $z.wear and brought me {an apple|a new song|good news}.",
            "I helped $z. Now my back hurts, but I am glad.",
            "$z told me that nothing is better than $z.food. I do not think so. I like $x.food"
            " best.",
            "@news",
        )
        w.paragraph()


def shopping(w):
    """A list, with what it is for."""
    p = w.pick(PEOPLE.values())
    parts = FOOD_PARTS[p.food].replace(" and ", ", ").replace("a little ", "").split(", ")
    goods = [j.item for j in w.some([j for j in JOBS.values() if j is not p.job], 3)]
    w.set(p=p, v=VillageName(p.place))
    w.one(
        "%s The list of $p" % w.pick(["#", "##", "###"]),
        "$p goes to the market and has a list:",
        "below is a list that $p wrote before the market:",
    )
    w.paragraph()
    items = parts + goods
    w.rng.shuffle(items)
    for item in items:
        seller = [q for q in ADULTS if q.job.item == item]
        w(
            "- "
            + item
            + (
                w.pick(
                    ["", " (from %s)" % seller[0], " from %s, %s" % (seller[0], seller[0].title)]
                )
                if seller
                else ""
            )
        )
        w.paragraph()
    w.one(
        "$p wants to make $p.food, $p.his favourite food. %s are for that."
        % capital(listing(parts)),
        "what is it for? With %s $p makes $p.food, which $p.he likes best." % listing(parts),
        "%s are for the kitchen. The other things are for the house $p.home."
        % capital(listing(parts)),
    )
    w.maybe("market day in $v is $v.day.", 0.7)
    w.maybe("$p.pet the $p.animal {carries nothing, but comes along|waits at home}.", 0.5)


def notice(w):
    """Something pinned to the tree in the middle of a village."""
    place = w.pick(VILLAGES.values())
    p = w.pick(PEOPLE.values())
    w.set(v=VillageName(place), p=p, thing=w.pick(THINGS), j=w.pick(JOBS.values()))
    w.one(
        "on the $v.tree in $v hangs a notice:",
        "this notice can be read in $v:",
        "%s Notice" % w.pick(["#", "##", "###"]),
    )
    w.paragraph()
    kind = w.rng.randrange(4)
    if kind == 0:
        w(
            "Lost: a $thing. {I lost it|It was lost} on $v.day at the market. If you find it,"
            " please bring it to $p in $p.village. The house stands $p.home. You can tell me by my"
            " $p.garb. I will cook $p.food for you."
        )
    elif kind == 1:
        w("On $v.day there is a market in $v, as in every week. You can buy:")
        w.paragraph()
        for q in w.some(ADULTS, 4):
            w("- $q.job.item from $q, $q.title of $q.village", q=q)
            w.paragraph()
        w("Come early! The best things are gone by noon.")
    elif kind == 2:
        w(
            "In $v.season we celebrate the $v.feast. {Everybody is invited|All are welcome}. There"
            " will be music, games and good food. $p will show us something about $p.hobby. Please"
            " bring {a chair|a cup|your friends}. We meet under the $v.tree."
        )
    else:
        w("The rules of our village:")
        w.paragraph()
        for i in range(w.rng.randrange(4, 7)):
            w("%d. @rule_line" % (i + 1))
            w.paragraph()
        w("Thank you. The people of $v.")
    w.paragraph()
    w.one(
        "children read it aloud, and soon everybody knows it.",
        "$p read it twice and {smiled|went home}.",
        "the wind pulls at the paper, but it holds.",
        "somebody has painted a small $p.animal below it.",
    )
    w.maybe("$v is known for $v.known, and its roofs are $v.roofs.", 0.5)


def day_of(w):
    """One ordinary day of a person, in the present."""
    p = w.pick(PEOPLE.values())
    w.set(p=p, f=p.friend, o=w.pick([q for q in ADULTS if q is not p]))
    w.one(
        "what does a day of $p look like?",
        "$p gets up early.",
        "this is how $p, {$p.title} of $p.village, spends the day.",
        "the day of $p begins before the sun is up.",
    )
    w.one(
        "first $p.he gives $p.pet the $p.animal something to eat.",
        "$p.pet, the $p.animal, wakes $p.him up.",
        "$p.pet the $p.animal is awake already.",
    )
    w(
        w.pick(
            [
                "then $p.he puts on $p.his $p.garb.",
                "without $p.his $p.garb $p.he does not leave the house.",
                "then $p.he looks for $p.his $p.garb and finds $x behind the door.",
            ]
        ),
        x="them" if p.garment == "boots" else "it",
    )
    if p.child:
        near = p.village == "Stonebridge"
        w(
            "the school is in Stonebridge, {so $p does not have far to go|just around the corner}."
            if near
            else (
                "the school is in Stonebridge, {and a cart takes $p there|and $p runs a part of the"
                " way}."
            )
        )
        w.one(
            "Ruth, the teacher, writes words on the board with chalk.",
            "Ruth teaches the children to read and count.",
        )
        w(
            "$p {looks out of the window|draws in $p.his book}: one day $p.he wants to be a"
            " $p.dream."
        )
    else:
        w.one("then $p.he goes to $p.job.place.", "after breakfast the work begins $p.job.at.")
        w.one(
            "there $p.he $p.job.does.",
            "the $p.job.tool is already there, and $p.he begins: $p.he $p.job.does.",
            "a $p.trade must not be late, because $p.job.why.",
        )
        w.one(
            "people come and want $p.job.item.",
            "$o, {$o.title}, comes to buy $p.job.item.",
            "at noon $p.he sits down with $o, $o.title, and eats some bread.",
        )
    w.paragraph()
    w.one(
        "in the evening there is $p.food, if all goes well.", "for supper $p.he likes $p.food best."
    )
    w.one(
        "then comes the best hour of the day: $p.hobby.",
        "after that $p.he has time for $p.hobby.",
        "what does $p do in the evening? $p.He likes $p.hobby.",
    )
    w.one(
        "sometimes $f comes from $f.village, because $f is $p.his best friend.",
        "before $p.he goes to bed, $p.he writes to $f, $p.his best friend.",
        "then all is quiet in the house $p.home.",
    )
    w.maybe("and tomorrow? Tomorrow will be {the same|another day}.", 0.5)


def coda(w, person):
    """A few facts of somebody who was mentioned, to round off a short page."""
    keys = w.some(keys_of(person), 3)
    w.paragraph()
    w.one("and who is %s?" % person, "a word about %s:" % person, "and %s?" % person)
    for i, key in enumerate(keys):
        w(fact(w, person, key, "name" if i == 0 else None))


def child_page(w):
    """The six children and what they want to become."""
    w.one(
        "six children of the valley go to school in Stonebridge.",
        "what do the children want to become?",
        "Ruth asks the children what they want to be when they are grown up.",
    )
    for p in w.some(CHILDREN, 6):
        w(fact(w, p, "dream", "name"))
        w.maybe(fact(w, p, w.pick(["village", "pet", "wear", "food"])), 0.5)
    w.one(
        "we shall see.",
        "there are years to think about it.",
        "perhaps some of them will change their minds.",
    )
