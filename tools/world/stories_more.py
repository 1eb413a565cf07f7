# SPDX-License-Identifier: MIT
"""More plots: small mysteries, guests, journeys, dreams, and old tales in which animals speak."""

from facts import ADULTS, ANIMALS, CHILDREN, FOOD_PARTS, PEOPLE, VILLAGES
from fact_lines import VillageName, village_fact
from grammar import listing, rules
from scene import SEASONS, SPOTS, THINGS, ending, introduce, opening, people, person_line, set_scene

rules(
    dream_event="""
        the $k.name wore $h.his $h.garment and bowed politely.
        the river ran uphill, and nobody was surprised.
        all the roofs of $v were made of {bread|glass|cheese|feathers}.
        a fish sat on the bench and read a book.
        $h.he could fly, but only backwards.
        the moon came down and asked for a cup of tea.
        $f was as small as a thumb and slept in a cup.
        the stones of the road sang an old song.
        it snowed {flour|feathers|honey cakes}.
        the clock had three hands and ran away from everybody.
        $h.pet the $h.animal could speak and complained about the food.
        every door led to {the same room|the lake|a field of sunflowers}.""",
    tale_moral="""
        and that is why the $k.name and the $m.name are friends to this day.
        since then the $k.name thinks first and runs later.
        "{One is never too small to help|Big words fill no stomach}," said the old $o.name.
        so says the tale, and it is as true as tales are.
        whoever does not believe it may ask the $o.name.""",
)


def pie_mystery(w):
    """Something was eaten; a thread of a certain colour shows who it was."""
    hero = w.pick(ADULTS)
    suspects = []
    for p in w.some(PEOPLE.values(), len(PEOPLE)):
        if p is not hero and p.garment != "boots" and p.colour not in [q.colour for q in suspects]:
            suspects.append(p)
    thief = suspects[2]
    set_scene(w, hero, f=thief, a=suspects[0], b=suspects[1])
    opening(w, hero)
    w(
        "$when $h cooked {a big pot of|a lot of} $h.food and put it on the window to cool."
        if "soup" in hero.food or "stew" in hero.food
        else "$when $h made $h.food and put it on the window to cool."
    )
    w.one(
        "when $h.he came back, it was gone.",
        "an hour later there was nothing left but crumbs.",
        "then $h.he looked away for a moment, and it was gone.",
    )
    w.one('"Who was it?" {asked|cried} $h.', '"There is a thief in $v!" said $h.')
    w("three people had been near the house: $a, $b and $f.")
    w.paragraph()
    w.one(
        '"It was not me," said $a. "I like $a.food, not $h.food."',
        '"I was at home with $a.pet the $a.animal," said $a.',
    )
    w.one(
        '"Nor was it me," said $b. "I like $b.food best."',
        '"Look at my hands," said $b. "They are clean."',
        '"I was in $b.village all morning," said $b.',
    )
    w("$f said nothing and looked {at the floor|out of the window}.")
    w.one(
        "then $h saw a small $f.colour thread on the window.",
        "on the window hung a little $f.colour thread. $h looked at it for a long time.",
    )
    w.one(
        '"$a wears $a.wear," said $h slowly, "and $b wears $b.wear. But who wears $f.wear?"',
        '"Only one person here wears $f.wear," said $h.',
        '"This comes from a $f.garb," said $h, "and I know whose it is."',
    )
    w.one(
        '"It was me," said $f. "{It smelled so good|I was so hungry|I could not help it}."',
        '$F became red. "{Forgive me|I am sorry}," $f.he said. "I only wanted to taste it."',
    )
    w.one(
        '"You could have asked," said $h. "There is enough for two."',
        "the next day $f brought $f.food as a present, and they ate it together.",
        "$f had to wash the pots for a week, and did it gladly.",
    )
    w.maybe("@happy_end", 0.6)


def guests(w):
    """A meal for several people who all like something else."""
    hero = w.pick(people(w, 1))
    invited = w.some([p for p in PEOPLE.values() if p is not hero], 3)
    set_scene(w, hero, f=invited[0], a=invited[0], b=invited[1], c=invited[2])
    introduce(w, hero)
    w(
        "$when $h invited three guests: $a from $a.village, $b from $b.village and $c from"
        " $c.village."
    )
    w.one('"What shall I cook?" {thought|asked} $h.', "but what do you cook for three people?")
    w.one(
        "$a likes $a.food best, $b likes $b.food best, and $c likes $c.food best.",
        "everybody knows that $a loves $a.food. But $b loves $b.food, and $c loves $c.food.",
        "for $a it had to be $a.food, for $b $b.food and for $c $c.food.",
    )
    w.one(
        '"Then I will make all three," said $h.',
        "$h had only one pot and one oven. $h.He began very early.",
        "$h asked $h.friend for help, and they cooked from morning till evening.",
    )
    w.set(parts=FOOD_PARTS[invited[0].food])
    w.maybe("for $a.food $h.he needed $parts.", 0.7)
    w.paragraph()
    w.one(
        "at six o'clock somebody knocked. It was $a in $a.wear. Then came $b with $b.pet the"
        " $b.animal, and last of all $c.",
        "$b came first, as always too early. $A came in $a.wear, and $c brought $c.pet the "
        "$c.animal.",
    )
    w.one(
        "the three meals stood on the table and smelled wonderful.",
        "they sat down, and for a while nobody spoke.",
    )
    w.one(
        'and what happened? $A ate $b.food, $b ate $c.food, and $c ate $a.food. "One must try'
        ' something new," said $a.',
        "everybody got the right plate, and everybody was happy.",
        "$b.pet the $b.animal jumped on the table, and half of the food lay on the floor. They"
        " laughed and ate the other half.",
    )
    w.one(
        "afterwards there was music, and $b talked about $b.hobby.",
        "later they sat by the fire, and $c told a story.",
        "it was late when the guests went home.",
    )
    ending(w)


def journey(w):
    """A way through several villages, with what can be seen there."""
    hero = w.pick(people(w, 1))
    places = w.some([v for v in VILLAGES.values() if v.name != hero.village], 3)
    set_scene(
        w,
        hero,
        f=hero.friend,
        a=VillageName(places[0]),
        b=VillageName(places[1]),
        c=VillageName(places[2]),
    )
    introduce(w, hero)
    w.one(
        "$when $h set out on a journey.",
        "$h had never seen the whole valley. $when $h.he packed a bag.",
        '"I want to see something else," said $h one day and left.',
    )
    w.maybe("$h.pet the $h.animal {came along|stayed with a neighbour}.", 0.6)
    for letter, verb in zip(
        "abc", ["first $h came to", "then $h.he came to", "the last village was"]
    ):
        place = places["abc".index(letter)]
        w("%s $%s, %s." % (verb, letter, place.lie))
        w(
            village_fact(
                w, place, w.pick(["roofs", "landmark", "known", "tree", "day", "feast", "water"])
            )
        )
        host = w.pick([p for p in ADULTS if p.place is place and p is not hero])
        w.set(x=host)
        w.one(
            "there $h.he slept {in the hay|in a small room} at the house of $x, {$x.title}.",
            "{$x|$x the $x.trade} gave $h.him $x.job.item for the way.",
            "$x, $x.title, was standing in front of the house in $x.wear and told a story.",
            "$h asked $x about the way, and $x pointed to the hills.",
            "at the house of $x there was $x.food, because $x likes nothing better.",
        )
        if letter == "b":
            w.maybe("@on_the_way")
            w.paragraph()
    w.one(
        "after a week $h came home with {sore feet|many stories|an empty bag}.",
        "then $h.he turned around, because $h.he missed $v.",
        '"The world is big," said $h at home, "but my bed is here."',
    )
    w.maybe("@happy_end", 0.5)


def dream(w):
    """A strange dream and the morning after."""
    hero, f = people(w, 2)
    kind = w.pick(ANIMALS.values())
    set_scene(w, hero, f=f, k=kind)
    opening(w, hero)
    w.one(
        "that night $h had a strange dream.",
        "$h had eaten $h.food very late, and so $h.he had a strange dream.",
        "in the night $h dreamed a wild dream.",
    )
    w.one(
        "$h was walking through $v, but everything was different.",
        "it began quite simply: $h opened the door and went out.",
        "there stood a $k.name, as big as a house.",
    )
    for _ in range(w.rng.randrange(3, 5)):
        w(w.pick(["then ", "", "", "after that "]) + "@dream_event")
    w.paragraph()
    w.one(
        '"{Is this a dream|Am I awake}?" asked $h. "{How should I know|That depends}," said the'
        " $k.name.",
        "$h wanted to run, but $h.his feet were as heavy as stones.",
        '"Follow me," said the $k.name. $H followed, and then there was a loud bang.',
    )
    w.one(
        "$h woke up. $h.pet the $h.animal was sitting on the blanket.",
        "then $h fell out of bed and was awake.",
        "somebody knocked. It was morning.",
    )
    w.one(
        "at breakfast $h told the dream to $f, {$f.title} of $f.village.",
        "later $h met $f, {$f.title} of $f.village, and told everything.",
    )
    w.one(
        '"{And what did I do in it|Was I there too}?" asked $f.',
        '"I dreamed of {a pot of soup|nothing}," said $f. "{You are lucky|That is better}."',
        '"{That means rain|That means luck|It means that you eat too late}," said $f.',
    )
    w.maybe("since then $h eats only {a little|an apple} in the evening.", 0.4)
    w.maybe("@happy_end", 0.4)


def tale(w):
    """An old tale: a strong animal in trouble and a small one that helps, or a boast and a race."""
    k, m, o = w.some([a for a in ANIMALS.values()], 3)
    teller = w.pick(PEOPLE.values())
    w.set(k=k, m=m, o=o, t=teller, spot=w.pick(SPOTS))
    w.one(
        "this is an old tale of the Wend Valley. $T from $t.village likes to tell it.",
        "once upon a time a $k.name and a $m.name lived in the old wood.",
        "long ago, when animals could still speak, there was a $k.name.",
        '"Tell us a story!" said the children. So $t, {$t.title} of $t.village, told them this'
        " one:",
    )
    w.paragraph()
    plot = w.rng.randrange(4)
    if plot == 0:
        w.one(
            "one day the $k.name fell into a deep hole.",
            "one day the $k.name was caught in a net.",
            "one night the $k.name could not find the way home.",
        )
        w('"{Help me!|Is nobody there?}" it called. {The wood was silent|Only the wind answered}.')
        w.one(
            "the $o.name came by, but it had no time.",
            'the $o.name looked down and shook its head. "That is too hard for me," it said.',
        )
        w("then came the $m.name. " + '"{What will you give me|Why should I help you}?" it asked.')
        w(
            w.pick(
                [
                    '"My $q," said the $k.name. "No," said the $m.name, "I only want a friend."',
                    (
                        '"I have nothing," said the $k.name. "Then I will do it for nothing," said'
                        " the $m.name."
                    ),
                ]
            ),
            q=w.pick(["winter food", "warm place", "best song"]),
        )
        w.one(
            "the $m.name worked all night, bit by bit, until the $k.name was free.",
            "the $m.name fetched the others, and all together they pulled.",
            "the $m.name went in front and called softly, and the $k.name followed the voice.",
        )
    elif plot == 1:
        w.one(
            '"I am the fastest of all," said the $k.name every day.',
            "the $k.name was proud and talked only of itself.",
        )
        w('"{Then let us run a race|Show it}," said the $m.name. All the animals laughed.')
        w(
            "they began {at the old bridge|under the hollow oak}, and the goal was {the lake|the"
            " mill}."
        )
        w.one(
            "the $k.name ran so fast that it did not look where it was going, and landed in the"
            " mud.",
            "the $k.name was far ahead, so it lay down $spot and fell asleep.",
            "halfway the $k.name stopped to look at itself in the water.",
        )
        w(
            "but the $m.name went on, {step by step|slowly and without a stop}, and {reached the"
            " goal first|won}."
        )
    elif plot == 2:
        w(
            "{in a hard winter|in a dry summer} there was hardly anything to eat. The $k.name had"
            " found {a sack of corn|a big cheese|a basket of nuts} and hid it $spot."
        )
        w(
            '"Do you have something for me?" asked the $m.name. "{Nothing at all|I am hungry'
            ' myself}," said the $k.name.'
        )
        w("the $m.name had one small apple. It gave one half to the $o.name.")
        w.one(
            "in the night the rain washed away all that the $k.name had hidden.",
            "when the $k.name went to its secret place, everything was rotten.",
        )
        w(
            '"Now I have nothing," cried the $k.name. "{Come here|Sit down}," said the $m.name.'
            ' "Half of a half is left."'
        )
        w("the $k.name was ashamed, and it never hid food again.")
    else:
        w(
            'the $k.name and the $m.name both wanted to be king. "I have $k.known!" said the'
            ' $k.name. "And I have $m.known," said the $m.name.'
        )
        w('they asked the old $o.name. "Who should be king?"')
        w.one(
            '"The one who brings me the most beautiful thing before evening," said the $o.name.',
            '"The one who can be silent the longest," said the $o.name.',
        )
        w("they ran off and looked everywhere. The sun went down.")
        w.one(
            "the $k.name brought a golden leaf, and the $m.name brought a drop of water in which"
            " you could see the sky.",
            "both came back with nothing in their mouths, because both had stopped to help a young"
            " bird.",
        )
        w.one(
            '"A king is not needed," said the $o.name. "Good neighbours are."',
            '"You are both right," said the $o.name. "Rule in turns."',
            '"I see two kings and no people," said the $o.name. "Go home and be friends."',
        )
    w.paragraph()
    w("@tale_moral")
    w.one(
        '"Again!" cried the children.',
        "when $t tells it, $t.pet the $t.animal always listens.",
        "then it was time for bed.",
        "$t heard it as a child in $t.village.",
        "$T tells it on long evenings, after a plate of $t.food.",
    )


def trick(w):
    """Somebody teaches an animal something, or the other way round."""
    hero, f = people(w, 2)
    set_scene(
        w,
        hero,
        f=f,
        trick=w.pick(
            [
                "to open the door",
                "to ring a bell",
                "to dance on two legs",
                "to fetch the " + hero.garment,
                "to count to three",
                "to carry letters",
            ]
        ),
    )
    opening(w, hero)
    w("$when $h decided to teach $h.pet the $h.animal $trick.")
    w('"A $h.animal cannot learn that," said $f, {$f.title} of $f.village.')
    w.one('"{We shall see|Mine can}," said $h.', '"$h.pet is no common $h.animal," said $h.')
    w.one(
        "on the first day nothing happened. On the second day $h.pet fell asleep.",
        "$h showed it ten times, and $h.pet looked at the clouds.",
        "$h.pet ate the apple that was meant as a prize and went away.",
    )
    w.paragraph()
    w.one(
        "$h was about to give up.",
        '"You were right," said $h to $f.',
        "after a week even $h had no more hope.",
    )
    w.one(
        "then, one morning, there was a noise. $h.Pet had done it, all alone!",
        "but in the night, when nobody looked, $h.pet tried it.",
        "suddenly $h.pet stood up and did it, as if it had never been difficult.",
    )
    w.one(
        "the trouble was that it never stopped again.",
        "the neighbours clapped, and $h.pet did it once more.",
        '"Who has taught whom?" asked $f. "You get up every time $h.pet calls."',
    )
    w.one(
        "$f had to say that $h had been right.",
        "$f went home and tried it with $f.pet the $f.animal.",
        "as a prize there was $h.food for $h and {an apple|a carrot|some corn} for $h.pet.",
    )
    ending(w)


def watch_pet(w):
    """Looking after a friend's animal goes wrong and ends well."""
    hero = w.pick(people(w, 1))
    f = hero.friend
    set_scene(w, hero, f=f, spot=w.pick(SPOTS))
    w.one(
        "$f of $f.village had to go away for {three days|a week}.",
        "$f wanted to visit an aunt beyond the hills.",
    )
    w('"Who will look after $f.pet?" asked $f. "I will," said $h, $f.his best friend.')
    introduce(w, hero)
    w("so $f.pet, the $f.animal of $f, came to the house $h.home in $h.village.")
    w.one(
        "at first $f.pet sat in a corner and did not eat.",
        "$f.pet and $h.pet the $h.animal looked at each other for a long time.",
        "the first night nobody slept, because $f.pet ran around the house.",
    )
    w("$when $h opened the door, and $f.pet {ran out|was gone} before anyone could stop it.")
    w.paragraph()
    w.one(
        "$h looked in the street, in the garden and by the $v.water.",
        "$h called until $h.his voice was gone.",
        '"What shall I tell $f?" {thought|cried} $h.',
    )
    w.one(
        "$h.pet the $h.animal sniffed at the ground and led $h.him along. Soon they had found"
        " $f.pet.",
        "in the evening $h found $f.pet $spot.",
        "the children of $h.village helped, and one of them found $f.pet $spot.",
    )
    w.one(
        "from then on the two animals slept side by side.",
        "$h gave $f.pet something good and locked the door.",
    )
    w(
        'when $f came back, $f.he asked: "Was everything all right?" "{Quite all right|Almost'
        ' everything}," said $h and {smiled|looked at $f.pet}.'
    )
    w.one(
        "$f had brought a present: something $h.colour, because $h likes that colour.",
        "$f thanked $h with a plate of $h.food.",
        "only $f.pet did not want to go home.",
    )
    w.maybe("@happy_end", 0.4)


def stall(w):
    """A day behind a table on the market."""
    hero, f = people(w, 2, adult_first=True)
    place = w.pick(VILLAGES.values())
    buyers = w.some([p for p in PEOPLE.values() if p not in (hero, f)], 3)
    set_scene(
        w,
        hero,
        f=f,
        m=VillageName(place),
        n=w.pick(["five", "six", "seven", "eight", "nine", "ten"]),
    )
    introduce(w, hero)
    w("on $m.day there is a market in $m, and $h went there early with a cart.")
    w.one(
        "$h.he put $h.his table under the $m.tree.",
        "$h.his table stood near the $m.landmark.",
        "the best places were taken, but $f, {$f.title}, made room.",
    )
    w.one(
        "$h called out loudly what there was to buy.",
        "people came to look and to touch everything.",
        "on the table lay $h.job.item, and there was more in the cart.",
    )
    for i, buyer in enumerate(buyers):
        w.set(b=buyer)
        w.one(
            "$b came in $b.wear and bought $h.job.item.",
            "then $b from $b.village stood there with $b.pet the $b.animal and could not decide.",
            '"{Too dear|That is a lot}," said $b, but $b.he bought it in the end.',
            "$b, {$b.title} of $b.village, paid with {a song|three coins|a basket of nuts}.",
            (
                '"Is it fresh?" asked $b. "{As fresh as the morning|Look for yourself}," said $h.'
                if "bread" in hero.job.item or "fish" in hero.job.item or "apples" in hero.job.item
                else '"Is it good?" asked $b. "{The best in the valley|Try it}," said $h.'
            ),
        )
        if i == 1:
            w.paragraph()
    w.one(
        "then the wind came and blew half of the things into the $m.water.",
        "at noon a goat ate the sign with the prices.",
        "a child took something without paying. $H only smiled, and the child came back with a"
        " coin.",
        "by noon everything was sold but one.",
    )
    w.one(
        "in the evening $h counted $n coins.",
        "in the evening the table was empty and the purse was full.",
        "$h had sold little, but had laughed a lot.",
    )
    w(
        w.pick(
            [
                "$h bought a $t for $h.friend with the money.",
                "with the money $h bought something for $h.pet the $h.animal.",
                "on the way home $h sang so loudly that the dogs barked.",
            ]
        ),
        t=w.pick(THINGS),
    )
    w.maybe("@happy_end", 0.4)


def children_play(w):
    """Children build or play something."""
    a, b, c = w.some(CHILDREN, 3)
    set_scene(w, a, f=b, a=a, b=b, c=c, spot=w.pick(SPOTS))
    season = w.slots["s"].name
    w(
        "it was $s.name, and $sign. After school $a, $b and $c {stayed in Stonebridge|had time to"
        " play}."
    )
    w.one(
        "$a is from $a.village, $b is from $b.village, and $c is from $c.village.",
        "$a wore $a.wear, $b wore $b.wear, and $c wore $c.wear.",
        "$a wants to be a $a.dream, $b a $b.dream and $c a $c.dream.",
    )
    game = w.rng.randrange(3)
    if game == 0:
        w('"Let us play hide and seek," said $a. $B counted to twenty.')
        w("$a hid $spot. $C climbed into {a barrel|an empty cart}.")
        w.one(
            "$b found $a at once, because a bit of $a.colour could be seen.",
            "$b looked and looked, and then somebody sneezed. It was $a!",
        )
        w.one(
            "but where was $c? They called, and nobody answered. $C had fallen asleep.",
            "the cart drove off, and $c was still in it! They ran after it, and the driver stopped"
            " and laughed.",
        )
    elif game == 1:
        thing = "a snow man" if season == "winter" else "a dam in the stream"
        w.set(what=thing)
        w('"Let us build $what," said $a.')
        w("$b brought what was needed, $c worked, and $a said how it should be done.")
        w.one(
            '"Why do you not work?" asked $c. "Somebody has to think," said $a.',
            "after an hour their hands were red, but it was nearly done.",
        )
        w.one(
            "then it broke in the middle, and they began again.",
            "a dog ran through it, and they laughed.",
            "in the evening it was bigger than all three of them.",
        )
    else:
        w('they had found {an old map|a paper with signs} $spot. "It is a treasure!" cried $b.')
        w(
            "they went {twenty steps to the left|past three trees}, then {over the stream|around"
            " the big stone}, and began to dig."
        )
        w.one(
            "they dug until it was dark, and all they found was {an old boot|a spoon|a bone}.",
            'there was a box! In it lay {a button|three coins|a letter} and a note: "Well done."',
        )
        w.one(
            '"Who wrote that?" asked $a. Ruth, the teacher, looked out of the window and smiled.',
            '"A treasure is a treasure," said $c.',
        )
    w.paragraph()
    w.one(
        '"I am hungry," said $c. "I would like $c.food now." "And I would like $b.food," said $b.',
        "they shared an apple and went home together.",
        "at home $a told everything to $a.pet the $a.animal.",
    )
    w.maybe(person_line(w, b, ["dream", "home"]), 0.3)
    w.maybe("the best friend of $a is $a.friend, and of course $a told it to $a.friend, too.", 0.5)
    w.maybe("so a {long|merry|busy} day came to a good end.", 0.5)


def helper_list(w):
    """Somebody is ill, and everyone brings something."""
    hero = w.pick(people(w, 1))
    helpers = w.some([p for p in ADULTS if p is not hero], 3)
    season = SEASONS[w.pick(["autumn", "winter", "spring"])]
    w.set(s=season)
    set_scene(
        w,
        hero,
        f=helpers[2],
        a=helpers[0],
        b=helpers[1],
        c=helpers[2],
        all=listing(p.name for p in helpers),
    )
    introduce(w, hero)
    w(
        "$when $h was ill. {$h.His head was hot and $h.his feet were cold|$H coughed and could not"
        " get up}."
    )
    w.maybe("$h.pet the $h.animal lay on the bed and did not move.", 0.5)
    w.one(
        "the neighbours heard of it.",
        "$h.friend, $h.his best friend, told the others.",
        "nobody had seen the $h.garb for two days, and people began to worry.",
    )
    w(
        "$a, the $a.trade, brought $a.job.item. $B, the $b.trade, came with $b.job.item. $C, the"
        " $c.trade of $c.village, had $c.job.item with $c.him."
    )
    w.paragraph()
    w.one(
        '"{Drink this|Stay in bed|Do not speak}," said $a.',
        "$a lit the stove, and soon it was warm.",
        "$b opened the window, and $c closed it again.",
    )
    w.one(
        "$b cooked $h.food, because everyone knows that $h likes it best.",
        "$b told a long story, until $h fell asleep.",
        "$b fed $h.pet and swept the floor.",
    )
    w.one(
        "after three days $h was well again.",
        "on the fourth morning $h got up and sang.",
        "slowly the colour came back into $h.his face.",
    )
    w.one(
        '"How can I thank you all?" asked $h. "{By staying well|Cook for us one day}," they said.',
        "$h invited $all to a big supper.",
        '"Now I know how many friends I have," said $h.',
    )
