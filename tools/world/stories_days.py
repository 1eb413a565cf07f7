# SPDX-License-Identifier: MIT
"""Plots of the open air and of free days: storms, feasts, fog, waiting, picnics, riddles."""

from facts import ADULTS, JOBS
from scene import SEASONS, ending, introduce, opening, people, person_line, set_scene


def storm(w):
    """Bad weather, and people who stand together."""
    hero, f, t = people(w, 3)
    place = hero.place
    set_scene(w, hero, f=f, t=t, pl=place)
    if w.slots["s"].name == "winter":
        w.set(
            danger="snow",
            event=(
                "it snowed for three days. The snow {lay as high as the windows|closed every road}"
            ),
            need="nobody could get out of the door",
        )
    else:
        w.set(
            danger="storm",
            event=w.pick(
                [
                    "a storm came over the hills. The sky turned black",
                    "it rained and rained. The water rose higher and higher",
                    "the wind became so strong that it broke branches",
                ]
            ),
            need=w.pick(
                [
                    "one roof was torn open",
                    "the old bridge began to shake",
                    "the animals in the meadow were in danger",
                    "the road was under water",
                ]
            ),
        )
    opening(w, hero)
    w("$when $event.")
    w.one("soon $need.", "before long $need.", "by evening $need.")
    w.one(
        "in Larkhill Vigo rang the great bell, so that all could hear it.",
        '"We must do something," said $h.',
        "people looked out of their windows and were afraid.",
    )
    w.maybe("@crowd", 0.4)
    w.paragraph()
    w.one(
        "$h {called|woke} the neighbours. $f, {$f.title} of $f.village, was there on a visit and"
        " came too.",
        "$h did not wait. $h.He ran to $f, {$f.title}, who had come from $f.village.",
    )
    w.one(
        "$T, $t.title, brought ropes and lamps.",
        "$T came with $t.pet the $t.animal and a strong rope.",
        "$T gave everyone hot soup.",
    )
    w.one(
        "they stood in a long row and passed {stones|bags of sand|buckets} from hand to hand.",
        "they worked {all night|for hours} with wet hands and cold feet.",
        "one held the lamp, one held the ladder, and the others worked.",
    )
    w.one(
        '"Hold on!" cried $f. "{It is nearly done|We can do it}!"',
        "twice it looked as if all was lost.",
        "the smallest children sang, so that nobody fell asleep.",
    )
    w.one(
        "when the sun came up, the danger was over.",
        "towards morning it became quiet.",
        "at last the $danger passed.",
    )
    w.one(
        "in the afternoon they all ate together in $pl.name, and nobody was {a stranger|alone}.",
        '"Alone I could have done nothing," said $h. "Together we are strong."',
        "under the $pl.tree they danced until the stars came out.",
        "the $pl.landmark of $pl.name was still standing, and everybody was well.",
    )
    w.maybe("@happy_end", 0.6)


def contest(w):
    """A contest at a feast, with an unexpected end."""
    hero, f = people(w, 2)
    set_scene(w, hero, f=f, pl=hero.place)
    w("every $pl.season the people of $pl.name celebrate the $pl.feast.")
    w.one(
        "this time there was a contest: who {can carry the most water|bakes the best cake|runs "
        "fastest around the $pl.tree|tells the best story|sings the loudest song|grows the biggest "
        "pumpkin}?",
        "this time there was a race around the $pl.tree.",
        "this time there was a contest of {singing|cooking|throwing stones|telling stories}.",
    )
    w.maybe("the prize was {a golden bell|a big cheese|a new hat|a barrel of apple juice}.")
    introduce(w, hero)
    w.one("$h wanted to win.", "$h had practised for weeks.", "$h had never won anything.")
    w.one(
        "but $f, {$f.title} of $f.village, was very good too.",
        '"I will win," said $f, {$f.title} of $f.village, and laughed.',
    )
    w.maybe(person_line(w, f, ["wear", "pet"]), 0.6)
    w.paragraph()
    w.one(
        "the contest began, and {everybody shouted|the drum was beaten|the flags went up}.",
        "all the people stood in a circle around them.",
    )
    w.one(
        "first $f was better, then $h, then $f again.",
        "$h did $h.his best, but $f was faster.",
        "it looked as if $f would win.",
    )
    w.one(
        "suddenly $f fell and hurt a knee. $H could have won, but $h.he stopped and helped"
        " $f.him up.",
        "then $h.pet the $h.animal ran into the middle, and everybody laughed so much that the"
        " contest had to stop.",
        "in the end nobody could say who was better.",
        "a small child whom nobody had noticed was better than both of them.",
    )
    w.one(
        "the prize was divided into two halves.",
        '"The prize is for both," said the old people.',
        "the prize went to the one who had been most kind.",
        "so they shared the prize with everyone.",
    )
    w.one(
        '"Next year I will win alone," said $f. "{We shall see|Perhaps}," said $h.',
        '"It was fun," said $h, "and that is better than a prize."',
        "@happy_end",
    )
    w.maybe("@happy_end", 0.4)


def grow(w):
    """A seed, patience, and what comes of it."""
    hero = w.pick(people(w, 1))
    plant = w.pick(
        ["sunflower", "pumpkin", "apple tree", "bean", "rose", "cherry tree", "walnut tree"]
    )
    set_scene(w, hero, f=hero.friend, plant=plant)
    introduce(w, hero)
    w.one(
        'in spring $h.friend gave $h.him a seed. "It will become a $plant," said $h.friend.',
        "in spring $h found a seed in $h.his pocket and put it into the earth {$h.home|behind the"
        " house}.",
    )
    w.one(
        "$h gave it water every day.",
        "every morning $h went to look, but there was only earth.",
        "the first week nothing happened, and the second week nothing happened.",
    )
    w.one(
        '"It is {dead|asleep}," said $h. "{Wait|Patience}," said $h.friend.',
        '$h wanted to dig it out, but $h.friend said, "Let it sleep."',
        "$h.pet the $h.animal {sat beside it|sniffed at the place} and waited too.",
    )
    w("then came a warm rain, and the next day there was a tiny green leaf.")
    w.paragraph()
    w.one(
        "in summer it was as high as $h.his knee.",
        "all summer long it grew and grew.",
        "in the hot weeks $h carried water from the $v.water.",
    )
    w.one(
        "once a {goat|goose|hare} wanted to eat it, and $h built a small fence.",
        "once a storm bent it down, and $h tied it to a stick.",
        "once it was full of beetles, and $h picked them off one by one.",
    )
    if plant in ("apple tree", "cherry tree", "walnut tree"):
        w(
            "a tree needs many years. But one {autumn|year}, when $h had almost forgotten to hope,"
            " it bore fruit."
        )
    else:
        w("in autumn it was the {biggest|finest} $plant in $v.")
    w.one(
        "$H shared with all the neighbours.",
        '"It was worth waiting for," said $h.',
        "$h kept the best seeds and gave one to each neighbour.",
        "@moral_slow",
    )
    w.maybe("@happy_end", 0.5)


def fog_walk(w):
    """Somebody loses the way and is guided home."""
    hero, f = people(w, 2)
    set_scene(w, hero, f=f, pl=f.place)
    if w.slots["s"].name == "summer":
        w.set(wx="still")
    opening(w, hero)
    w(
        "$when $h was on the road to $f.village. {Then fog came up from the river|Soon it grew"
        " dark|A thick fog fell on the fields}."
    )
    w.one(
        "$h could not see $h.his own hand.",
        "every tree looked like the next one.",
        "the path was gone, and so was every sound.",
    )
    w.one(
        '"I am lost," said $h {aloud|to $h.pet the $h.animal}.',
        '"{Hello|Is anybody there}?" called $h, but nobody answered.',
        "$h went left, then right, and came back to the same stone.",
    )
    w("@think" if w.chance(0.5) else "@mood_sad")
    w.paragraph()
    guide = w.rng.randrange(4)
    if guide == 0:
        w(
            "then, far away, {a bell rang|the great bell of Larkhill rang}. $H followed the sound"
            " step by step."
        )
    elif guide == 1:
        w(
            "then there was a small yellow light. It was $f, {$f.title} of $f.village, with a"
            " lantern."
        )
    elif guide == 2:
        w(
            "something {touched $h.his hand|came through the grass}. It was $f.pet, the $f.animal"
            " of $f. $h followed it."
        )
    else:
        w(
            "$h remembered what the old people say: {follow the water, and you will find"
            " people|moss grows where the sun does not shine}. So $h.he did that."
        )
    w.one(
        "soon the $pl.landmark of $pl.name stood in front of $h.him like a friend.",
        "after an hour $h.he saw the $pl.roofs roofs of $pl.name.",
        "at last there were houses, and $h.he could smell {bread|smoke|soup}.",
    )
    w.one(
        '"We were worried about you," said $f.',
        '"{Come in and get warm|Sit by the stove}," said $f.',
        "$F gave $h.him {dry socks|hot soup|a cup of mint tea}.",
    )
    w("@thanks")
    ending(w, trouble=True)


def wait_for(w):
    """Something is awaited, and it comes differently from what was hoped."""
    hero, f = people(w, 2)
    hoped = w.pick(
        [
            "a letter",
            "the first snow",
            "the travelling players",
            "rain",
            "the boat with the oranges",
            "a visit from $h.friend",
            "the new clock",
        ]
    )
    if hoped == "the first snow":
        w.set(s=SEASONS[w.pick(["autumn", "winter"])])
    elif hoped == "rain":
        w.set(s=SEASONS["summer"])
    set_scene(w, hero, f=f)
    w.set(hoped=w.expand(hoped))
    opening(w, hero)
    w("for {days|a whole week|a long time} $h had been waiting for $hoped.")
    w.one(
        "every morning $h.he looked out of the window.",
        "every evening $h.he stood at the gate.",
        '"Today!" $h.he said each morning, and each evening $h.he said, "Tomorrow."',
    )
    w("$when $f, {$f.title} of $f.village, came by. @ask_wrong")
    w('"I am waiting for $hoped," said $h, "and {nothing happens|nothing comes}."')
    w.one(
        '"Waiting is easier when you are busy," said $f.',
        '"Come and help me," said $f. "Time flies when there is work."',
        '"Let us wait together," said $f and sat down.',
    )
    w.paragraph()
    w.one(
        "so $h helped $f {clean the stable|carry the wood|wash the cups|paint a fence}.",
        "@small_talk",
        "they spent the time with $f.hobby.",
    )
    w.one("$h forgot the time and forgot to wait.", "when they looked up, it was evening.")
    w.one(
        "and just then it came: $hoped!",
        "at home, in front of the door, a surprise was waiting: $hoped!",
        "the next morning, when $h did not think of it at all, there it was: $hoped!",
    )
    w.one(
        '"What you do not wait for comes first," said $h and laughed.',
        "$h was glad. But the day with $f had been {just as good|even better}.",
        "$h ran to $f to tell the news.",
    )
    w.maybe("@happy_end", 0.5)


def wish(w):
    """Somebody envies another person, tries that life for a day and comes back content."""
    a, b = w.some(ADULTS, 2)
    set_scene(w, a, f=b)
    introduce(w, a)
    w("$f was the $f.trade of $f.village.")
    w.one(
        '"Your work is easy," said $h to $f. "Try it," said $f.',
        "$h often thought that the life of a $f.trade was better than that of a $h.trade.",
        '"I wish I were a $f.trade," said $h one day. "And I wish I were a $h.trade," said $f.',
    )
    w("so they {changed places|swapped their work} for one day.")
    w(
        "$H went {early in the morning|before sunrise} to $f.job.place and took the $f.job.tool. $F"
        " went to $h.job.place and took the $h.job.tool."
    )
    w.paragraph()
    w.one(
        "soon $h.his back hurt.",
        "after an hour $h had {a blister on each hand|a blue thumb}.",
        "$h did everything in the wrong order.",
    )
    w.one(
        "and $f? $F {got wet|fell into the mud|broke two things}.",
        "at the same time $f looked at the $h.job.tool and did not know where to begin.",
        "people came and asked $f for $h.job.item, and $f had none.",
    )
    w.one(
        "even $h.pet the $h.animal looked surprised.",
        "in the village people {laughed|shook their heads}.",
        "nobody got $h.job.item that day, and nobody got $f.job.item.",
    )
    w(
        'in the evening they met. "{How was it|Well}?" asked $f. "{Hard|Terrible}," said $h. "And'
        ' yours?" "{Worse|Just as hard}," said $f.'
    )
    w.one(
        "the next morning $h $h.job.did as before and was glad about it.",
        "since that day $h has never called any work easy.",
        '"{Each of us|Everyone} has a gift," said $h. "Mine is $h.job.doing."',
        "then $h ate $h.food, $f ate $f.food, and both slept until noon.",
    )


def picnic(w):
    """A free day out of doors."""
    hero, f = people(w, 2)
    set_scene(
        w,
        hero,
        f=f,
        spot=w.pick(
            [
                "on the hill",
                "by the lake",
                "under an old tree",
                "in the meadow",
                "beside the stream",
                "at the edge of the wood",
            ]
        ),
    )
    if w.slots["s"].name == "winter":
        w.set(spot="in the snow")
    opening(w, hero)
    w("$when $h and $f, {$f.title} of $f.village, had {a free day|nothing to do}.")
    w('"{Let us go out|We could eat outside}," said $f. "The {best place|nicest place} is $spot."')
    w.one(
        "$h brought $h.food and $f brought $f.food.",
        "$h packed $h.food, and $f carried the basket.",
    )
    w.maybe(person_line(w, f, ["wear", "pet"]), 0.6)
    w("@on_the_way")
    w.paragraph()
    w.one("they sat $spot, ate and talked.", "$spot they put down a blanket and ate everything.")
    w.one(
        "then a {goat|duck|squirrel|crow} came and stole {a piece of bread|the last biscuit|the"
        " cheese}.",
        "then ants came, hundreds of them, and they had to jump up.",
        "then the wind took the blanket, and they ran after it.",
    )
    w.one(
        '"{Come back|Stop, thief}!" {cried|shouted} $h, but it was too late.',
        "$f laughed so much that $f.he {fell over|had tears in $f.his eyes}.",
        "$h.pet tried to help, but that made it worse.",
    )
    w("@small_talk")
    w.one(
        "afterwards $f told a long story, and $h fell asleep.",
        'they looked at the clouds. "That one looks like a {sheep|boat|big shoe}," said $h.',
        "they counted {birds|boats|carts} until it was time to go.",
    )
    ending(w)


def mistake(w):
    """A funny mix-up at work."""
    hero = w.pick(ADULTS)
    f = w.pick([p for p in ADULTS if p is not hero])
    mix = w.pick(
        [
            ("salt", "honey", "the tea tasted like the sea"),
            ("soap", "butter", "there were bubbles everywhere"),
            ("paint", "milk", "the cat had a blue nose"),
            ("sand", "flour", "nobody could bite the bread"),
            ("glue", "jam", "nobody could open his mouth"),
        ]
    )
    set_scene(w, hero, f=f, wrong=mix[0], right=mix[1], result=mix[2])
    opening(w, hero)
    w("$when $f, the $f.trade of $f.village, came {to visit|to see $h|to eat with $h}.")
    w('"{Sit down|You must be hungry}," said $h and went into the kitchen.')
    w.one(
        "it was dark there, and $h was thinking of $h.hobby.",
        "on the shelf stood two pots that looked the same.",
        "$h had left the glasses in the other room.",
    )
    w("so $h took the $wrong instead of the $right.")
    w.one("a moment later $result.", "the end of it was that $result.")
    w.paragraph()
    w.one(
        "$F looked at $h, and $h looked at $f.",
        "$f was polite and said nothing for a while.",
        '"{Interesting|That is new}," said $f slowly.',
    )
    w('"{What is it|Is something wrong}?" asked $h. Then $h {tried it|saw it} too.')
    w.one(
        '"That is not $right!" cried $h. "That is $wrong!"',
        '$H read the name on the pot. "{Oh dear|Oh no}," said $h. "$Wrong!"',
    )
    w.one(
        "they laughed until the windows shook.",
        "$f laughed first, and then $h laughed too.",
        '"At least I am awake now," said $f.',
    )
    w(
        "{after that they ate|then they went to the inn and ate} {$f.food, which $f liked"
        " best|$h.food, which $h liked best}."
    )
    w.one(
        "since then there is a big label on every pot in $h.his kitchen.",
        'to this day $f asks before every meal, "Is there $wrong in it?"',
        "@happy_end",
    )


def riddle_evening(w):
    """People sit together, and each asks a riddle about a trade or an animal."""
    hero, f, t = people(w, 3)
    set_scene(w, hero, f=f, t=t)
    opening(w, hero)
    w(
        '$when $h, $f and $t sat {by the fire|in the inn|around the table}. "{Let us play a'
        ' game.|Who knows a riddle?}" said $f.'
    )
    asked = w.some(sorted(JOBS.values(), key=lambda j: j.name), 2)
    for speaker, other, job in ((hero, t, asked[0]), (f, hero, asked[1])):
        w.set(a=speaker, b=other, j=job)
        w.one(
            '"My riddle is this," said $a. "Who needs {the|a} $j.tool and {works|stands} $j.at?"',
            '"Who $j.does?" asked $a. "And why? Because $j.why."',
            '"I think of somebody," said $a. "You can buy $j.item there."',
        )
        w.one(
            '"{That is easy|I know it}," said $b. "The $j.name!"',
            '$B thought for a while. "Is it the $j.name?" "{Yes|Right}," said $a.',
        )
    w.paragraph()
    w.one(
        '"Now I," said $t. "What has teeth and cannot bite?" "A comb!" cried $h.',
        '"Now I," said $t. "What runs and has no legs?" "The river!" cried $f.',
        '"Now I," said $t. "What gets wet while it dries?" "A towel!" cried $h.',
        '"Now I," said $t. "What has a neck but no head?" "A bottle!" cried $f.',
        '"Now I," said $t. "What goes up when the rain comes down?" "I do not know," said $h. "The '
        'water in the river," said $t.',
    )
    w.one(
        "they played until the lamp went out.",
        "outside the wind howled, but inside it was warm.",
        "in the end they ate $h.food, because $h liked it best.",
    )
    w.maybe("@happy_end", 0.6)
