# SPDX-License-Identifier: MIT
"""Seasons, weather, places and the sentences that many stories share: openings, walks, endings."""

from types import SimpleNamespace as Record

from facts import ADULTS, ANIMALS, CHILDREN, PEOPLE, VILLAGES
from fact_lines import PAST_LINES, VillageName, fact, keys_of
from grammar import rules

SEASONS = {
    "spring": Record(
        name="spring",
        weather=["mild", "rainy", "windy", "bright", "fresh"],
        signs=[
            "the first flowers stood in the grass",
            "the birds sang in every hedge",
            "the young lambs jumped in the meadow",
            "the snow was gone and the paths were soft",
            "the apple trees were white with blossom",
            "the stream was full and loud",
            "the days grew longer and the air smelled of wet earth",
        ],
    ),
    "summer": Record(
        name="summer",
        weather=["hot", "warm", "sunny", "still", "bright"],
        signs=[
            "the sun stood high over the valley",
            "the bees hummed in the clover",
            "the children ran barefoot in the dust",
            "the hay lay drying in the fields",
            "the lake was as smooth as a mirror",
            "the shade under the trees was cool",
            "the evenings were long and full of light",
        ],
    ),
    "autumn": Record(
        name="autumn",
        weather=["windy", "foggy", "golden", "cool", "rainy"],
        signs=[
            "the leaves turned red and yellow",
            "the apples were ripe",
            "fog lay over the river in the morning",
            "the barns were full of grain",
            "the geese flew south in long lines",
            "the nuts fell from the trees",
            "smoke rose from every chimney",
        ],
    ),
    "winter": Record(
        name="winter",
        weather=["cold", "snowy", "frosty", "dark", "icy"],
        signs=[
            "snow lay on all the roofs",
            "the pond was covered with ice",
            "the wind howled around the houses",
            "the days were short and the nights were long",
            "ice flowers grew on the windows",
            "everybody sat close to the stove",
            "the road was white and silent",
        ],
    ),
}

# Wild places of the valley: where things are lost and found.
SPOTS = [
    "under the old bridge",
    "behind the stone wall",
    "in the tall grass",
    "under a bush",
    "beside the stream",
    "in an empty barrel",
    "on the steps of the mill",
    "under the bench",
    "between two big stones",
    "in the hollow tree",
    "at the edge of the wood",
    "in the hay",
    "behind the barn",
    "under a pile of leaves",
    "next to the well",
    "on the path to the lake",
    "in the reeds",
    "beside the road",
    "behind the water trough",
]

THINGS = [
    "key",
    "silver button",
    "blue marble",
    "ring",
    "red ball",
    "letter",
    "small knife",
    "glove",
    "coin",
    "spoon",
    "wooden whistle",
    "picture book",
    "ribbon",
    "kite",
    "basket",
    "lantern",
    "comb",
    "little bell",
    "map",
    "purse",
    "feather pen",
    "cup",
    "toy boat",
]

rules(
    time_full="""
        one {morning|evening|afternoon|day} in $s.name,
        early one morning in $s.name,
        late one afternoon in $s.name,
        on a $wx {morning|evening|afternoon|day} in $s.name,
        on a $wx $s.name {morning|evening|day},
        it was a $wx {morning|day} in $s.name when
        {last $s.name|one $s.name}, on a $wx day,
        {on a Monday|on a Tuesday|on a Wednesday|on a Thursday|on a Sunday} in $s.name,
        two days before the $feast,
        the day after the $feast,
        one $wx day, when {$sign},""",
    time_short="""
        one {morning|evening|afternoon},
        early {in the morning|that morning},
        {that day|on that day|one day},
        after {breakfast|dinner|work},
        {at noon|before noon|towards evening},
        it was {early|late|almost noon} when
        but one {day|morning|evening},
        then, on a {Monday|Tuesday|Wednesday|Thursday|Friday|Saturday|Sunday},
        as soon as it was {light|quiet},
        just before {supper|the feast|market day},""",
    mood_good="""
        $H was in a good mood.
        $H hummed a little song.
        $H felt well and rested.
        $H had slept well.
        $H looked forward to the day.
        $H smiled at everyone $h.he met.""",
    mood_sad="""
        $H sat down and {sighed|put $h.his head in $h.his hands}.
        $H felt {sad|lost|helpless|very small}.
        $H did not know what to do.
        tears came into $h.his eyes, but $h.he wiped them away.
        "What now?" said $h.
        "Oh no," said $h. "{Not today|Not again|This is a bad day}."
        $h.his heart was heavy.""",
    think="""
        $H thought for a {moment|while}.
        $H scratched $h.his head and thought.
        $H looked at the sky and thought.
        $H took a deep breath.
        $H counted slowly to ten.""",
    walk="""
        $H {walked|went} {quickly|slowly|straight} to $goal.
        $H took the {narrow|short|stony|muddy|long} path to $goal.
        $H {hurried|ran} to $goal.
        so $h {set out for|made $h.his way to|started walking to} $goal.
        {it was not far|it was a long walk} to $goal, {but|and} $h {did not mind|sang on the way}.
        $H put on {warm socks|a good pair of shoes|$h.his $h.garment} and walked to $goal.""",
    on_the_way="""
        on the way {a crow|a hare|a fox|a young deer} crossed the path and {looked back once|was gone}.
        the wind {blew from the hills|pushed at $h.his back|played with the leaves}.
        a cart rolled by, and the driver {waved|called a greeting|nodded}.
        the clouds over the hills {grew darker|opened, and the sun came out}.
        somewhere a {dog barked|bell rang|bird called|door closed}.
        two children were playing {beside the road|with a ball|near the gate}.
        $h.his shoes were {wet|dusty|muddy} when $h.he arrived.
        the path went {over a small bridge|through the wood|along the river|past the old mill}.
        a {light|soft} rain began to fall, but it soon stopped.
        the air smelled of {smoke|hay|bread|wet leaves|flowers}.""",
    thanks="""
        "Thank you," said $h. "{You are very kind|I will not forget this|That helps me a lot}."
        "{Thank you so much|A thousand thanks}!" {said|called|cried} $h.
        $H thanked $f {from the bottom of $h.his heart|three times|warmly}.
        $H shook $f.his hand and thanked $f.him.
        "How can I thank you?" asked $h. "{Smile|Come again|Help the next one who asks}," said $f.""",
    welcome="""
        "{You are welcome|It was nothing|Gladly done}," said $f.
        "{That is what friends are for|We all need help sometimes}," {said|answered} $f.
        $F {only smiled|laughed and waved|nodded}.
        "{Next time you can help me|One day you may help me}," said $f.""",
    happy_end="""
        $H was so {happy|glad} that $h.he {danced|laughed out loud|sang all the way home}.
        that {evening|night} $h slept {well|deeply|like a stone}.
        $H went home with a light heart.
        in the evening $h sat {by the fire|at the window|in front of the house} and smiled.
        $H told the story {to everyone|for many years|to $h.friend, $h.his best friend}.
        from that day on $h and $f {were friends|greeted each other every day|helped each other}.
        $H and $f talked about it until the stars came out.
        later $h ate {a lot of|some} $h.food, which $h.he liked best.
        when the moon rose over the valley, all was quiet and good.
        "{What a day|That was a good day}," said $h and {blew out the candle|closed the door}.
        at home $h.pet the $h.animal {was waiting at the door|was glad to see $h.him|was already asleep}.
        the sun went down behind the hills, and one window after the other {grew dark|lit up}.
        later $h wrote it all down {in a letter to $h.friend|in a small book}.
        $H {looked at|thought of} $f and {laughed|was glad}.
        and if you go to $v, $h will tell you about it.""",
    trouble_end="""
        and so the day that had begun badly ended well.
        $H would never forget that day.
        "{I will be more careful now|Next time I will know better}," said $h.
        "All is well that ends well," said $f.
        $H was tired, but {happy|very glad}.
        nobody was {angry|sad} any more.
        after that, $h {never worried so quickly again|always asked for help in time}.""",
    crowd="""
        the {whole village|neighbours} came to {look|see it}.
        many people {stopped|came} and asked what had happened.
        even {the old people|the smallest children} came out of their houses.""",
    greet="""
        "Good {morning|day}, $h," said $f. "{What brings you here|What can I do for you|Why the long face}?"
        "Hello, $h," said $f. "{You look worried|You are out of breath|Come in}."
        $F looked up and {smiled|nodded|waved}. "{Welcome|Good to see you|Come closer}, $h."
        "{Well, well|Look who is here}," said $f. "{It is $h|My friend $h}!" """,
    ask_wrong="""
        "What is wrong?" asked $f.
        "You look {sad|pale|worried}," said $f. "Tell me."
        "{What happened|Why do you cry}?" asked $f {kindly|quietly}.
        $F sat down beside $h.him and waited until $h began to speak.""",
    small_talk="""
        they talked about the weather and the price of {flour|apples|wool|fish}.
        $F told $h {the news from $f.village|about $f.pet the $f.animal|a joke}.
        they drank {mint tea|warm milk|apple juice} and were silent for a while.
        they shared {bread and cheese|an apple|a bowl of soup}.""",
    moral_share="""
        what you share comes back to you.
        a small gift can make a long friendship.
        nobody becomes poor by giving a little.
        those who help will be helped.""",
    moral_slow="""
        good things take time.
        slow work is often the best work.
        nobody can do everything on the first day.
        you learn with your hands as well as with your head.""",
    yes="""
        "{Of course|Gladly|With pleasure|Yes, I will}," said $f.
        "{Let me see|Wait a moment|I think I can help}," said $f.
        $F did not {think long|say much}. $F.he {nodded|smiled} and stood up.
        "Why not?" said $f. "{I have a free hour|My work can wait}." """,
)


def person_line(w, person, keys=None, name=True):
    """A sentence in the past about one fact of the person; with keys: as seen in passing."""
    choices = [k for k in keys or keys_of(person) if k in PAST_LINES]
    if keys:
        choices = ["along" if k == "pet" else k for k in choices]
    return fact(w, person, w.pick(choices), "name" if name else "he", PAST_LINES)


def people(w, count, adult_first=False):
    """Different people; friends meet more often than chance has it."""
    first = w.pick(ADULTS if adult_first or w.chance(0.75) else CHILDREN)
    chosen = [first]
    if count > 1 and w.chance(0.3) and not (adult_first and first.friend.child):
        chosen.append(first.friend)
    while len(chosen) < count:
        other = w.pick(ADULTS if w.chance(0.85) else CHILDREN)
        if other not in chosen:
            chosen.append(other)
    return chosen


def set_scene(w, hero, **slots):
    """Season, weather and the slots that the shared rules use."""
    season = w.slots.get("s") or w.pick(SEASONS.values())
    feasts = [v.feast for v in VILLAGES.values() if v.season == season.name]
    w.set(
        h=hero,
        s=season,
        wx=w.pick(season.weather),
        sign=w.pick(season.signs),
        feast=w.pick(feasts) if feasts else "market",
        v=VillageName(hero.place),
        when="@time_full",
        **slots
    )


def introduce(w, person):
    """A first sentence about the hero of a story."""
    if person.child:
        who = [
            "there was a $h.kind called $h in $v.",
            "$H was a $h.kind from $v.",
            "in $v lived a $h.kind called $h. $h.He went to school in Stonebridge.",
            "$H, a $h.kind from $v, {had a free day|was on the way home from school}.",
        ]
    else:
        who = [
            "$H was the $h.trade of $v.",
            "in $v lived a $h.trade called $h.",
            "$H, the $h.trade of $v, {$h.job.did|worked $h.job.at}.",
            "there was a $h.trade in $v, and $h.his name was $h.",
            "everybody in $v knew $h, the $h.trade.",
            "$H lived $h.home in $v. $h.He was a $h.trade and $h.job.did.",
        ]
    w(w.pick(who))


def opening(w, hero):
    """Time, weather and hero in one of several orders. Leaves the story at its first event."""
    style = w.rng.randrange(4)
    if style == 0:
        introduce(w, hero)
        w.maybe(person_line(w, hero, name=False), 0.5)
        if w.chance(0.6):
            w("it was {$s.name|a $wx day in $s.name}, and $sign.", when="@time_short")
    elif style == 1:
        w("it was {$s.name|a $wx day in $s.name}, and $sign.", when="@time_short")
        introduce(w, hero)
        w.maybe(person_line(w, hero, name=False), 0.4)
    elif style == 2:
        introduce(w, hero)
        w(person_line(w, hero, name=False))
        w.maybe("@mood_good", 0.4)
    else:
        w("$sign.", when="@time_short")
        introduce(w, hero)


def ending(w, trouble=False):
    """One or two closing sentences for hero $h and helper $f; trouble: after something went wrong."""
    if trouble and w.chance(0.6):
        w("@trouble_end")
        w.maybe("@happy_end", 0.4)
    else:
        w("@happy_end")
        w.maybe("@happy_end", 0.2)


def pet_noise(w, person):
    """What the animal of a person does when it speaks: 'barked', 'purred', ..."""
    past = {
        "brays": "brayed",
        "purrs": "purred",
        "grunts": "grunted",
        "honks": "honked",
        "barks": "barked",
        "clucks": "clucked",
        "snuffles": "snuffled",
        "hoots": "hooted",
        "thumps its foot": "thumped its foot",
        "squeaks": "squeaked",
        "chatters": "chattered",
        "says nothing at all": "moved",
        "bleats": "bleated",
        "caws": "cawed",
        "quacks": "quacked",
        "croaks": "croaked",
        "whinnies": "whinnied",
        "moos": "mooed",
    }
    return past[ANIMALS[person.animal].sound]


def all_people():
    return list(PEOPLE.values())
