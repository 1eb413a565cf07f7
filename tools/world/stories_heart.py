# SPDX-License-Identifier: MIT
"""Small plots of two people: help, quarrels, mistakes, fear, gifts, learning."""

from facts import ADULTS, CHILDREN, FOOD_PARTS
from grammar import rules
from scene import SPOTS, THINGS, ending, introduce, opening, people, set_scene

rules(
    say_sorry="""
        "I am sorry," said $h. "{I should not have done that|It was my fault|Please forgive me}."
        $H looked at the floor. "Forgive me," $h.he said {softly|at last}.
        "It was wrong of me," said $h, "and I am sorry." """,
    forgive="""
        "{It is forgotten|Let us forget it|Good that you told me}," said $f and smiled.
        $F was silent for a moment. Then $f.he {held out a hand|laughed}. "{Come in|Sit down}," $f.he said.
        "Everyone makes mistakes," said $f. "{I do too|Drink some tea with me}." """,
    quarrel_cause="""
        $H said that $h.food tasted better than $f.food. $F said that nothing was better than $f.food.
        $F had borrowed $h.his $thing and forgotten to bring it back.
        $H had promised to come at noon, but $h.he came in the evening.
        $F laughed at $h.his $h.garment, and $h did not like it.
        both wanted the last place on the cart to Stonebridge.
        $H had stepped on $f.his $thing and broken it without saying a word.
        $F told everybody a secret that $h had told only to $f.him.
        $H and $f played a game, and both said that they had won.""",
    night_sound="""
        knock, knock, knock
        a long, low sound
        something like steps on the roof
        a scratching behind the wall
        a soft voice that seemed to sing
        a bang, and then another bang""",
)


def quarrel(w):
    """Friends fall out over a trifle and make up."""
    hero = w.pick(people(w, 1))
    set_scene(w, hero, f=hero.friend, thing=w.pick(THINGS))
    w.one(
        "$h and $f were best friends. $h lived in $h.village and $f in $f.village.",
        "everybody knew that $h and $f were best friends, although one lived in $h.village and the "
        "other in $f.village.",
        "$h, {$h.title} of $h.village, had a best friend, and that was $f.",
    )
    w("$when they quarrelled. @quarrel_cause")
    w.one(
        "{They shouted|Both became loud} until the dogs barked.",
        '"You are as stubborn as a donkey!" cried $f.',
        '"Then go home!" cried $h, and $f went.',
        "they did not even say goodbye.",
    )
    w.paragraph()
    w.one(
        "for three days they did not {speak|write|greet each other}.",
        "the next day $h was alone.",
        "a week went by without a word.",
    )
    w.one(
        "$h tried $h.hobby, but it was no fun alone.",
        "even $h.food did not taste good.",
        "$h.pet the $h.animal looked at the door and waited for $f.",
    )
    w.maybe(
        w.pick(
            [
                '"What is it worth to be right," thought $h, "when I am alone?"',
                "$h.he saw two birds on a branch that shared one cherry, and $h.he was ashamed.",
                "at night $h could not sleep.",
            ]
        ),
        0.8,
    )
    w.one(
        "in the morning $h cooked $f.food and carried it to $f.village.",
        "so $h made a small present and went to $f.village.",
        "then $h put on $h.his $h.garment and walked all the way to $f.village.",
    )
    w.one(
        "halfway there $h.he met $f, who was coming the other way.",
        "$f opened the door before $h.he could knock.",
        "$f stood in front of the house in $f.wear.",
    )
    w("@say_sorry")
    w("@forgive")
    w.one(
        "then they both laughed.",
        "from then on they quarrelled only about small things.",
        '"We are both donkeys," said $f.',
        "that evening they ate together, and $h sang.",
    )


def broken_thing(w):
    """Somebody breaks a thing and has to find the courage to say so."""
    hero, friend = people(w, 2)
    what = w.pick(
        [
            "blue cup",
            "water jug",
            "clay pot",
            "lamp",
            "wooden horse",
            "mirror",
            "flower pot",
            "old clock",
            "glass bowl",
            "fiddle",
        ]
    )
    set_scene(w, hero, f=friend, what=what, spot=w.pick(SPOTS))
    opening(w, hero)
    w(
        "$when $h was at the house of $f, {$f.title} of $f.village. {On the table|On a shelf|Near"
        " the door} there was a $what."
    )
    w.one(
        "$h turned around too quickly. Crash! The $what was broken.",
        "$h only wanted to look at it, but it broke with a loud crack.",
        "$h threw a ball for $h.pet, and the ball hit the $what. It broke.",
    )
    w.one(
        "nobody had seen it.",
        "$f was in the garden and had not heard anything.",
        "it was very quiet in the room.",
    )
    w.one(
        '"I could say that the cat did it," thought $h.',
        "$H wanted to run away. $h.He even had one hand on the door.",
        "$h hid the pieces $spot and went home. But $h.he could not eat and could not sleep, and "
        "the next day $h.he went back.",
    )
    w.paragraph()
    w.one(
        "but a lie is a heavy thing to carry.",
        "then $h thought of what $h.friend always said: the truth is the shortest way.",
        "$h.his heart beat fast.",
    )
    w("@say_sorry")
    w.one('"The $what is broken, and I broke it," $h.he said.', '"I broke the $what," said $h.')
    w("@forgive")
    w.one(
        "together they {picked up|glued} the pieces.",
        "$h worked for $f for two days to pay for it.",
        '"It was old," said $f. "{A friend who tells the truth is worth more|I never liked it'
        ' much}."',
        "the next week $h brought a new one, and it was even nicer than the old one.",
    )
    ending(w, trouble=True)


def gift(w):
    """A surprise for somebody, chosen by what that person likes."""
    hero = w.pick(people(w, 1))
    f = hero.friend if w.chance(0.6) else w.pick([p for p in ADULTS if p is not hero])
    set_scene(w, hero, f=f, parts=FOOD_PARTS[f.food])
    w.one(
        "the birthday of $f, {$f.title} of $f.village, was near.",
        "$f had helped $h {all week|many times|with a heavy load}, and $h wanted to say thank you.",
        "$f, {$f.title} of $f.village, had been ill for a week.",
    )
    introduce(w, hero)
    w.one(
        '"What would make $f happy?" {thought|wondered} $h.',
        '"I will give $f a present," said $h. "But what?"',
        "$h walked up and down and thought about a present.",
    )
    kind = w.rng.randrange(3)
    if kind == 0:
        w.one(
            "everybody knew that $f liked $f.food best.",
            "then $h remembered that $f loved $f.food.",
        )
        w("so $h {got|bought|found} $parts, and soon the kitchen smelled {wonderful|of $f.food}.")
        w.one(
            "the first one was burnt, but the second try was perfect.",
            "$h.pet the $h.animal watched and hoped that something would fall down.",
            "it took {the whole morning|three hours}, and there was flour everywhere.",
        )
        w.set(present=f.food)
    elif kind == 1:
        w.one(
            "$h knew that $f wore {the|an old} $f.garb every day.",
            "then $h thought of the $f.garb that $f always wore.",
            "$f was never seen without the $f.garb.",
        )
        w.one(
            "so $h {made|sewed} a small $f.colour bag that looked good with it.",
            "so $h bought $f.colour wool and made a pair of $f.colour gloves.",
        )
        w.set(present="something " + f.colour)
    else:
        w.one(
            "everybody knew that $f loved $f.pet the $f.animal more than anything.",
            "what $f loved most was $f.pet, the $f.animal.",
        )
        w.one(
            "so $h made a little house for $f.pet out of old boards.",
            "so $h painted a picture of $f.pet.",
            "so $h made a soft blanket for $f.pet.",
        )
        w.set(present="something for " + f.pet)
    w.paragraph()
    w("$when $h {knocked at the door|went to the house} of $f in $f.village. @on_the_way")
    w.one(
        '"I have {brought you|made} $present," said $h.',
        '"This is for you," said $h. It was $present.',
    )
    w.one(
        "$f did not know what to say.",
        "$f.his eyes {shone|grew big}.",
        "$F {clapped|laughed} for joy.",
    )
    w.one(
        '"How did you know?" asked $f. "{A friend knows such things|I have eyes and ears},"'
        " said $h.",
        '"That is the best present of all," said $f.',
        '"You thought of me," said $f.',
    )
    w.maybe("@moral_share", 0.5)
    ending(w)


def learn(w):
    """A child tries a trade for a day."""
    hero = w.pick(CHILDREN)
    options = [p for p in ADULTS if p.trade == hero.dream] if w.chance(0.5) else ADULTS
    f = w.pick(options)
    set_scene(w, hero, f=f)
    introduce(w, hero)
    if f.trade == hero.dream:
        w.one(
            "$h wanted to become a $h.dream one day.",
            "more than anything, $h wanted to be a $h.dream.",
        )
    else:
        w.one(
            "$h wanted to know how a $f.trade works.",
            "in school the children had talked about the work of a $f.trade, and $h was curious.",
        )
    w(
        "$when $h went to $f, the $f.trade of $f.village, and {asked to help for a day|knocked at"
        " the door}."
    )
    w('"{May I help you|Can I learn it|Will you show me your work}?" asked $h.')
    w.one(
        '"{You may try|Good|Why not}," said $f. "But it is hard work."',
        '$F looked at $h.his small hands. "We shall see," said $f.',
        '"I could use {two more hands|some help}," said $f.',
    )
    w("a $f.trade $f.job.does, and the most important tool is the $f.job.tool.")
    w.paragraph()
    w.one(
        "the first try went wrong.",
        "at first everything went wrong.",
        "$h was too fast, and soon there was a mess on the floor.",
        "after an hour $h.his arms hurt.",
    )
    w.one(
        '"I cannot do it," said $h. "{Not yet|Try again}," said $f.',
        '"Slowly," said $f. "{Watch my hands|Look, like this|First look, then do}."',
        "$F showed it once more, {slowly|step by step}.",
    )
    w.one(
        "the second time it was better, and the third time it was almost good.",
        "after many tries it worked.",
        "towards evening $h could do it alone.",
    )
    w.one(
        '"{Well done|Not bad at all}," said $f. "You may come again {tomorrow|next week}."',
        '$F gave $h.him $f.job.item. "You have earned it," said $f.',
        '"A $f.trade must never give up," said $f, "and you did not."',
    )
    w.maybe("@moral_slow", 0.6)
    ending(w)


def night_noise(w):
    """A frightening sound at night has a harmless cause."""
    hero, f = people(w, 2)
    set_scene(w, hero, f=f, noise="@night_sound", kind=f.animal)
    opening(w, hero)
    w.one(
        "late in the evening the fire was almost out, and the house was still.",
        "then night fell, and the moon was hidden behind clouds.",
        "at night, when $h was already in bed, it was very quiet.",
    )
    w("then there was a sound: $noise.")
    w.one(
        '"Who is there?" called $h. Nobody answered.',
        "$H held $h.his breath and listened.",
        "$h.pet the $h.animal {lifted its head|hid under the bed}.",
    )
    w.one(
        "there it was again!",
        "the sound came again, and this time it was nearer.",
        "it stopped, and then it began again.",
    )
    w.one(
        '"It is only the wind," $h told $h.self_word, but $h.his knees shook.',
        "$H pulled the blanket over $h.his head.",
        "$H lit a candle. The shadows jumped.",
    )
    w.paragraph()
    w.one(
        "at last $h took {a lamp|a stick|all $h.his courage} and opened the door.",
        '$H ran next door, where $f was staying that night. "Come quickly," {said|whispered} $h.',
        '"Being afraid is worse than looking," thought $h and went out.',
    )
    cause = w.rng.randrange(3)
    if cause == 0:
        w("in the dark two eyes shone. It was $f.pet, the $f.animal of $f!")
        w.one(
            "it was hungry and had smelled the $h.food.",
            "it had lost its way in the dark.",
            "it wanted to visit $h.pet.",
        )
    elif cause == 1:
        w.one(
            "a {loose board|branch|rope} was beating against the wall.",
            "the wind had opened the shed, and the door was swinging.",
            "rain was dripping into an empty barrel.",
        )
        w('"So that is the ghost!" said $h and laughed.')
    else:
        w(
            "there stood $f, {$f.title} of $f.village, {with a lamp in the hand|tired and wet|cold"
            " and pale}."
        )
        w(
            '"{I missed the last cart|I lost the way in the dark}," said $f, "and I did not want to'
            ' wake you."'
        )
    w.one(
        "$h {closed the window|made tea} and went back to bed.",
        "after that the night was quiet.",
        "the next morning the whole village laughed about it, and $h laughed the loudest.",
    )
    ending(w, trouble=True)


def animal_help(w):
    """A hungry or hurt wild animal is helped and gives something back."""
    hero, f = people(w, 2)
    beast = w.pick(
        ["young crow", "hedgehog", "fox", "hare", "owl", "wild duck", "squirrel", "young deer"]
    )
    set_scene(w, hero, f=f, beast=beast, spot=w.pick(SPOTS))
    opening(w, hero)
    w("$when $h heard a {weak|small|strange} sound $spot. There lay a $beast.")
    w.one(
        "one leg was hurt.",
        "it was wet and cold.",
        "it was caught in an old net.",
        "it was so hungry that it could not stand.",
    )
    w.one(
        '"{You poor thing|Do not be afraid}," said $h.',
        "$H {knelt down|came closer} very slowly.",
        '$h.pet the $h.animal wanted to come closer, but $h said, "Stay."',
    )
    wrap = hero.garment not in ("boots", "hat", "cap")
    edda = "Edda" not in (hero.name, f.name)
    w.one(
        (
            "$h wrapped it in $h.his $h.garment and carried it home."
            if wrap
            else "$h put it into a basket and carried it home."
        ),
        "$h gave it some water and a little bread and took it home.",
        (
            "$h brought it to Edda, the healer of Fernhollow, who knew what to do."
            if edda
            else "$h carried it home, cleaned the leg and put some ointment on it."
        ),
    )
    w.paragraph()
    w.one(
        "for a week it slept in a box beside the stove.",
        "day after day it grew stronger.",
        "every morning $h brought it fresh food.",
    )
    w.one(
        "$F came to see it and brought {nuts|seeds|warm milk|some hay}.",
        '$F said, "A wild animal must be free." $h knew that this was true.',
        "even $h.pet became its friend.",
    )
    w.one(
        "then, on a bright morning, $h opened the door, and the $beast was free.",
        "one day it stood at the door and looked out, and $h let it go.",
    )
    w.one(
        "a month later $h lost the way in the fog. Suddenly the $beast stood on the path and led "
        "$h.him home.",
        "the next {spring|year} it came back and brought its young ones.",
        "sometimes, in the evening, the $beast sits at the edge of the garden and looks at the"
        " light.",
        "one morning there was a {shiny stone|silver button|blue feather} in front of the door.",
    )
    w("@moral_share" if w.chance(0.5) else "@happy_end")
