# SPDX-License-Identifier: MIT
"""Stories in which somebody goes from one person to the next: to gather, to trade, to search."""

from facts import ADULTS
from grammar import listing, rules
from scene import (
    SPOTS,
    THINGS,
    ending,
    introduce,
    opening,
    people,
    person_line,
    pet_noise,
    set_scene,
)

TRADER = {p.trade: p for p in ADULTS}

# What can be made of things that different people sell.
PROJECTS = [
    ("an apple cake", ["miller", "goose keeper", "gardener"]),
    ("a honey cake", ["miller", "goose keeper", "beekeeper"]),
    ("a tent", ["weaver", "rope maker", "tailor"]),
    ("a picnic", ["baker", "cheese maker", "gardener", "beekeeper"]),
    ("a swing", ["rope maker", "carpenter"]),
    ("a raft", ["barrel maker", "rope maker", "boat builder"]),
    ("a soft bed for $h.pet the $h.animal", ["basket maker", "shepherd", "weaver"]),
    ("a paper lantern", ["candle maker", "teacher", "tailor"]),
    ("a supper for three guests", ["fisher", "baker", "healer"]),
    ("a warm supper for the whole school", ["woodcutter", "innkeeper", "baker"]),
    ("a puppet theatre", ["weaver", "candle maker", "tailor", "carpenter"]),
    ("a roof for the hen house", ["thatcher", "blacksmith"]),
    ("a bench of stone", ["mason", "weaver"]),
    ("a warm blanket", ["shepherd", "tailor"]),
    ("a cart for the children", ["barrel maker", "blacksmith", "rope maker"]),
    ("a box for letters", ["clockmaker", "blacksmith", "teacher"]),
    ("a big kite", ["teacher", "rope maker", "weaver"]),
    ("a sign for the door", ["carpenter", "blacksmith", "teacher"]),
    ("a fish soup", ["fisher", "potter", "woodcutter"]),
    ("a present for $h.friend", ["toy maker", "weaver", "teacher"]),
]

FAVOURS = [
    "swept the floor",
    "carried the water",
    "fed $c.pet the $c.animal",
    "washed the windows",
    "held the ladder",
    "stacked the wood",
    "sorted the nails",
    "told a funny story",
    "pulled out the weeds",
    "cleaned the table",
    "turned the big wheel",
    "peeled the potatoes",
]

rules(
    need="""
        {for that|to make it} $h needed $list.
        but $h had {nothing at home|only an empty cupboard}. $h.He needed $list.
        $H made a list: $list.
        "I need $list," said $h.
        "What do I need?" thought $h. "{First|Well}, $list." """,
    first_stop="""
        first $h went to $t, the $t.trade of $t.village.
        the first door was that of $t, the $t.trade.
        $H began with $t, who was {the $t.trade|a good $t.trade}.
        in $t.village $h {found|met} $t, the $t.trade, $t.job.at.""",
    next_stop="""
        then $h {went|hurried|walked} to $t, the $t.trade {of|in} $t.village.
        next came $t, the $t.trade. $t.He worked $t.job.at.
        after that $h {looked for|visited} $t, the $t.trade of $t.village.
        {from there|an hour later} $h came to $t.village, where $t {worked|lived}.
        now only $t could help, because $t was the $t.trade.""",
    get_item="""
        $T gave $h.him $item and {would not take any money|wished $h.him luck|asked for nothing}.
        "Take $item," said $t. "{I have enough|It is a good one|Pay me another day}."
        "{Please may I have|Could you give me} $item?" asked $h. "{Of course|Here you are|Gladly}," said $t.
        $H {bought|got} $item {from $t|for two coins|and put it into $h.his bag}.
        $T was {busy|in a good mood|just having breakfast}, but $t.he {found|brought} $item at once.
        for a {song|joke|smile}, $t gave $h.him $item.""",
    project_done="""
        at home $h {worked|was busy} until {evening|the lamp was lit}, and then it was ready: $thing!
        with all these things $h made $thing, and it {was better than $h.he had hoped|looked splendid}.
        now $h had everything. Before {night|supper}, $thing was finished.
        it took {two hours|the whole afternoon|a long time}, but in the end $thing was ready.""",
    project_why="""
        $when $h {wanted to make|decided to make|planned} $thing.
        $when $h had an idea. $h.He wanted to make $thing.
        "{Today|This week} I will make $thing," said $h {to $h.pet the $h.animal|one morning|aloud}.
        "What we need is $thing," said $h.friend. So $h promised to make it.
        $H had promised $h.friend $thing, and today was the day.""",
    seen="""
        "Have you seen $what?" asked $h. 
        "{I am looking for|I have lost} $what," said $h. "Have you seen it?"
        "Please help me," said $h. "I cannot find $what."
        $H asked {after|about} $hers. """,
    no_luck="""
        "No," said $t, "{not today|I am sorry|I have been inside all day}. Ask $u, {$u.title}."
        "I have seen nothing," said $t. "{But|Perhaps} $u {knows more|has seen something}."
        $T shook $t.his head. "{Go and ask|Try} $u in $u.village," $t.he said.
        "I saw something {an hour ago|this morning}," said $t. "It was near the house of $u."
        $T had been $t.hobby and had seen nothing. "Maybe $u can help," said $t. """,
    clue="""
        "Yes!" said $t. "{Look|Go and look|Have a look} $spot."
        "I think I saw it $spot," said $t.
        $T pointed with a finger. "There, $spot, something {moved|shone in the sun} this morning."
        "{Come with me|Follow me}," said $t, and they looked $spot.
        $T thought hard. "{Did you look|Have you been} $spot?" """,
    found="""
        and there it was!
        and really, there it {was|lay}, {a little dirty|as if nothing had happened|safe and dry}.
        $H ran there at once and found it.
        $H {bent down|looked closely}. "I have found it!" {cried|shouted} $h.
        it did not take long. "{Here it is|There it is}!" cried $t.""",
)


def gather(w):
    """The hero collects what is needed to make something."""
    thing, trades = w.pick(PROJECTS)
    sellers = [TRADER[t] for t in trades]
    hero = w.pick([p for p in people(w, 6) if p not in sellers] or [TRADER["clockmaker"]])
    set_scene(w, hero)
    w.set(thing=w.expand(thing), list=listing(p.job.item for p in sellers), f=sellers[-1])
    introduce(w, hero)
    w.maybe(person_line(w, hero, name=False))
    w("@project_why")
    w("@need")
    w.paragraph()
    for i, seller in enumerate(sellers):
        w.set(t=seller, item=seller.job.item)
        w("@first_stop" if i == 0 else "@next_stop")
        w.maybe(person_line(w, seller, ["wear", "pet", "work"]), 0.35)
        w("@get_item")
        if i + 1 < len(sellers):
            w.maybe("@on_the_way", 0.25)
    w.paragraph()
    w("@project_done")
    guest = hero.friend if w.chance(0.5) else w.pick(sellers)
    w.set(f=guest)
    w.maybe(
        "$F came {to see it|by} and {clapped $f.his hands|was amazed|wanted to know how it was"
        " done}."
    )
    ending(w)


def trade(w):
    """A chain of exchanges: one wants what the next one has."""
    hero, a, b, c = people(w, 1) + w.some(ADULTS, 3)
    if hero in (a, b, c):
        hero = (
            a.friend
            if a.friend not in (a, b, c)
            else w.pick([p for p in ADULTS if p not in (a, b, c)])
        )
    set_scene(w, hero, f=a, a=a, b=b, c=c, favour="")
    w.set(favour=w.expand(w.pick(FAVOURS)))
    introduce(w, hero)
    w("$when $h {wanted|needed|wished for} $a.job.item, but $h.he had no money.")
    w("{so $h.he went to|$h.He asked} $a, the $a.trade of $a.village.")
    w.one(
        '"I will give you $a.job.item," said $a, "if you bring me $b.job.item."',
        '"{Money is not what I need|Keep your coins}," said $a. "But I would like $b.job.item."',
        '"Bring me $b.job.item," said $a, "and $a.job.the_item is yours."',
    )
    w("{so $h walked to|then $h.he went to} $b, the $b.trade.")
    w.one(
        '"{Gladly|Yes}," said $b, "but first I need $c.job.item."',
        '"{I have|There is} one left," said $b. "I will swap it for $c.job.item."',
        '$B laughed. "What I miss is $c.job.item. Bring it, and we can trade."',
    )
    w("@on_the_way")
    w.paragraph()
    w.one(
        "at last $h came to $c, the $c.trade of $c.village.",
        "$c was the $c.trade and lived in $c.village. {There $h went next|$H found $c.him"
        " $c.job.at}.",
    )
    w.one(
        '"You may have $c.job.item," said $c, "if you help me a little." So $h $favour.',
        "$C was tired. $H $favour, and $c gave $h.him $c.job.item.",
        '"Nothing is free," said $c, "but work is as good as money." So $h $favour.',
    )
    w("$h {brought|carried} $c.job.the_item to $b and got $b.job.item.")
    w("$h.he {brought|gave} $b.job.the_item to $a and got $a.job.item.")
    w.one(
        "now everybody had what {he or she|each of them} needed.",
        "in the end nobody had paid a coin, and all were content.",
        '"A long way for one thing," said $h, "but a good one."',
    )
    ending(w)


def lost_pet(w):
    """The hero's animal is gone; two people are asked."""
    hero, t, u = people(w, 3)
    set_scene(
        w,
        hero,
        f=u,
        t=t,
        u=u,
        what=hero.pet,
        hers=hero.pet,
        spot=w.pick(SPOTS),
        noise=pet_noise(w, hero),
    )
    introduce(w, hero)
    w.one(
        "$h.he had a $h.animal called $h.pet.",
        "$h.his $h.animal $h.pet {followed $h.him everywhere|slept in $h.his kitchen}.",
        "the best thing in $h.his house was $h.pet, a $h.animal.",
    )
    w.one(
        "$when $h.pet was gone.",
        "$when $h called for $h.pet, but nothing moved.",
        "$when the door stood open, and there was no $h.animal to be seen.",
    )
    w(
        "{$H looked under the table and behind the door|$H looked in every corner}, "
        "but $h.pet was not there."
    )
    w("@mood_sad")
    w.paragraph()
    w.one("$h ran to $t, {$t.title} of $t.village.", "the first person $h met was $t, $t.title.")
    w.maybe(person_line(w, t, ["wear", "pet", "hobby"]), 0.4)
    w("@seen")
    w("@no_luck")
    w.one("so $h ran on.", "$H thanked $t and {hurried|ran} on.", "@on_the_way")
    w.set(t=u)
    w.one("$u {stood in front of the house|was at work|was drinking tea}.", "$h found $u $u.home.")
    w("@seen")
    w("@clue")
    w.paragraph()
    w.one(
        "$h looked $spot, and something $noise. It was $h.pet!",
        "something $noise. There, $spot, sat $h.pet and looked up.",
        "$h called the name again, and now $h.pet $noise. The $h.animal was $spot.",
    )
    w.one(
        "{the poor animal|$h.pet} had {followed a butterfly|got lost in the fog|been afraid of "
        "the wind} and {could not find|had forgotten} the way home.",
        "$h.pet had found {a sunny place|some food|a new friend} and did not want to go home.",
        "one foot was caught in a string, and $u cut it with a knife.",
    )
    w("@thanks")
    w.maybe("@welcome")
    ending(w, trouble=True)


def lost_thing(w):
    """A thing is lost and found with somebody's help."""
    hero, t, u = people(w, 3)
    thing = w.pick(THINGS)
    set_scene(
        w,
        hero,
        f=u,
        t=t,
        u=u,
        what="my " + thing,
        thing=thing,
        hers=hero.his + " " + thing,
        spot=w.pick(SPOTS),
    )
    opening(w, hero)
    w.one(
        "$when $h wanted to take $h.his $thing, but it was not in its place.",
        "$when $h put $h.his hand into $h.his pocket. The $thing was gone!",
        "$H had a $thing that $h.he loved, because it was a present from $h.friend. "
        "$when it was gone.",
    )
    w.one(
        "$h looked in the kitchen, in the cupboard and under the bed.",
        "$h.he turned every pocket inside out.",
        "$h {walked back the whole way|searched the house twice}, but found nothing.",
    )
    w("@mood_sad" if w.chance(0.6) else "@think")
    w.paragraph()
    w("{then $t came by|$h went to see $t|at the corner $h met $t}, $t.title {of|from} $t.village.")
    w("@seen")
    w("@no_luck")
    w.set(t=u)
    w("$u was {at home|at work|on the road}. @seen")
    w("@clue")
    w("@found")
    w.one(
        "a crow had carried it there.",
        "it must have fallen out of $h.his bag.",
        "$h had put it down there $h.self_word and forgotten it.",
        "the wind had blown it there.",
        "$h.pet the $h.animal had played with it.",
        "",
    )
    w("@thanks")
    w.maybe("@welcome")
    ending(w, trouble=True)


def ask_the_way(w):
    """A stranger asks for a person and is told where to go."""
    hero, t, target = people(w, 3)
    while target.village == hero.village or target in (hero, t):
        target = w.pick(ADULTS)
    set_scene(w, hero, f=target, t=t, x=target)
    w.one(
        "a stranger came to $v on a $wx day in $s.name.",
        "it was $s.name, and $sign. A stranger with a heavy bag stood in $v.",
        "$when a traveller stopped at the house of $h in $v.",
    )
    w.one(
        '"Excuse me," said the stranger. "Where can I find $x, $x.title?"',
        '"I have a letter for $x," said the stranger. "Do you know the house?"',
        '"I need $x," said the stranger. "People say that nobody can help me better."',
    )
    w.one(
        '"$x lives in $x.village," said $h, "$x.place.lie."',
        '"You are in the wrong village," said $h. "$x lives in $x.village."',
        '"Go to $x.village," answered $h. "You will see the $x.place.landmark from far away."',
    )
    w(
        '"{The house stands|You will find the house} $x.home. {Look for|Ask for} {someone in'
        ' $x.wear|the $x.garb|$x.pet the $x.animal}."'
    )
    w.paragraph()
    w(
        "the stranger {thanked $h|lifted the bag again} and walked {along the river|over the"
        " hill|through the wood} until the $x.place.roofs roofs of $x.village {came into"
        " sight|shone in the sun}."
    )
    w.maybe(
        w.pick(
            [
                (
                    "near the $x.place.tree sat $t, {$t.title} of $t.village, who was there on a"
                    " visit."
                ),
                "a girl at the $x.place.water showed the last part of the way.",
            ]
        ),
        0.5,
    )
    w.one(
        "and there, $x.home, stood $x in $x.wear.",
        "at last somebody in $x.wear opened the door. It was $x.",
        'a $x.animal {came to the gate|looked over the fence}. "That is $x.pet," said a voice. "And'
        ' I am $x."',
    )
    w.one(
        '"I am your cousin," said the stranger. "{We have not met for ten years|I have come from '
        'beyond the hills}." $X {laughed and cried at once|could not believe it}.',
        '"I bring you a greeting from the sea," said the stranger and {took a shell out of the '
        "bag|told a long story}.",
        '"My {cart is broken|roof is broken|child is ill}," said the stranger. "Come in," said $x. '
        '"{We will find help|First you must eat}."',
    )
    w.one(
        "soon there was $x.food on the table, the favourite food of $x.",
        "they ate $x.food and talked until late.",
        "the stranger stayed for three days.",
    )


def delivery(w):
    """A parcel goes the wrong way before it arrives."""
    carrier = TRADER["letter carrier"]
    target, wrong = [p for p in people(w, 4) if p is not carrier][:2]
    sender = target.friend
    if wrong is sender or sender is carrier:
        return lost_thing(w)
    thing = w.pick(THINGS)
    set_scene(w, carrier, f=target, x=target, y=wrong, z=sender, thing=thing)
    w.one(
        "$h carries the letters of the whole valley. $sign when this happened.",
        "$H, the letter carrier, lived in Pinecross and had a pony called Whistle.",
        "every morning $h the letter carrier took the leather bag and rode from village to"
        " village.",
    )
    w.one(
        "$when there was a small parcel for $x in the bag. It came from $z.",
        '$when $z gave $h.him a parcel. "For $x in $x.village," said $z. "Be careful!"',
    )
    w.one(
        "but the rain had washed the name away.",
        "but the name on it was hard to read.",
        "but $h was tired and mixed up two parcels.",
    )
    w("so $h took it to $y, $y.title {of|in} $y.village.")
    w.one(
        '"For me?" said $y. $Y opened it and found a $thing. "{What should I do with a $thing|I '
        'never asked for a $thing}?"',
        '$Y was glad and opened it. Inside was a $thing. "{That is nice|How pretty}," said $y, '
        '"but I think it is not for me."',
    )
    w.maybe('"{Who sends it|Is there no letter with it}?" asked $y. "It is from $z," said $h.')
    w.one(
        '"$z has only one best friend," said $y, "and that is $x."',
        '"Then it is clear," said $y. "$z and $x are best friends."',
    )
    w.paragraph()
    w(
        "$h {rode|hurried} to $x.village {as fast as the pony could run|before the sun went down}."
        " @on_the_way"
    )
    w.one(
        "$x was waiting {at the gate|in front of the house} in $x.wear.",
        "$x came out with $x.pet the $x.animal and {laughed|waved}.",
    )
    w.one(
        '"My $thing!" cried $x. "I lent it to $z {last year|a month ago}."',
        '"A $thing! Just what I wanted," said $x.',
        '$X held the $thing up {to the light|high}. "$z has not forgotten me," said $x softly.',
    )
    w.one(
        "from then on $h read every name twice.",
        "then $x gave $h $x.food, and the pony got a carrot.",
        "that evening $x wrote a long letter to $z, and $h carried it for nothing.",
    )


def repair(w):
    """A broken tool keeps somebody from working; another trade can mend it."""
    helper_for = {
        "carpenter": "a piece of wood was broken",
        "blacksmith": "a piece of iron was bent",
        "clockmaker": "a screw had come loose",
        "toy maker": "one part had come off",
    }
    simple = (
        "needle",
        "chalk",
        "net",
        "stone bowl",
        "bell rope",
        "long stick",
        "leather bag",
        "crook",
    )
    trade_name = w.pick(sorted(helper_for))
    helper = TRADER[trade_name]
    hero = w.pick([p for p in ADULTS if p is not helper and p.job.tool not in simple])
    set_scene(w, hero, f=helper, damage=helper_for[trade_name], goal=helper.job.place)
    opening(w, hero)
    w.one(
        "$when $h took the $h.job.tool and saw that $damage.",
        '$when $h heard a crack. "Oh no, my $h.job.tool!" {said|cried} $h. Really, $damage.',
        "$when something was wrong with the $h.job.tool: $damage.",
    )
    w.one(
        "without it $h could not go on with the work.",
        "a $h.trade cannot work without a $h.job.tool.",
        '"How can I work now?" {said|asked} $h.',
    )
    w.maybe("@think", 0.4)
    w.paragraph()
    w("{then $h.he thought of|but $h knew} $f, the $f.trade of $f.village.")
    w("@walk")
    w.maybe(person_line(w, helper, ["wear", "pet", "work"]), 0.5)
    w("@greet")
    w('"{Look at this!|Can you mend it?}" said $h and {showed $f.him|put down} the $h.job.tool.')
    w("@yes")
    w.one(
        "$f {worked|was busy} for an hour, and $h {watched|waited|swept the floor meanwhile}.",
        "first $f cleaned it, then $f.he looked at it from all sides, and then $f.he mended it.",
        "$f took the right tools from the wall and {began|hummed while $f.he worked}.",
    )
    w.one(
        '"{There|Here}," said $f, "{as good as new|better than before|now it will hold}."',
        "soon the $h.job.tool was as good as new.",
    )
    w.one(
        '"What does it cost?" asked $h. "{Bring me $h.job.item one day|Nothing|A cup of tea},"'
        " said $f.",
        "$h paid with $h.job.item, and both were content.",
        "@thanks",
    )
    ending(w, trouble=True)
