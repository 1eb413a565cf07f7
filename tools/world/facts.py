# SPDX-License-Identifier: MIT
"""The facts of the world. Every generator takes them from here, so that no two documents disagree.

The Wend Valley has six villages, thirty people with a trade of their own and six children. Each
person has an animal with a name, a favourite food, a piece of clothing, a pastime, a best friend and
a house.
"""

from types import SimpleNamespace as Record

VALLEY = "the Wend Valley"
RIVER = "the river Wend"

# name | landmark | tree | roofs | market day | feast | season of the feast | known for | water | lie
VILLAGE_ROWS = """
Oatfield | windmill | chestnut tree | yellow | Monday | Bread Feast | autumn | bread | duck pond | in the wide fields in the south of the valley
Fernhollow | hollow oak | oak tree | green | Tuesday | Honey Feast | summer | honey | clear spring | deep in the old wood
Stonebridge | bridge with three arches | walnut tree | grey | Saturday | Lantern Feast | winter | its big market | fountain | in the middle of the valley
Greywater | lighthouse | willow tree | blue | Friday | Boat Race | summer | fish | lake | on the shore of the lake
Larkhill | bell tower | rowan tree | red | Thursday | Wool Fair | spring | cheese | cold stream | high on the green hill
Pinecross | tall signpost | pine tree | brown | Wednesday | Snow Feast | winter | toys | stone well | where the two roads meet
"""

# trade | verb forms | object | item for sale | tool | workplace | what the work is good for
JOB_ROWS = """
miller | grind grinds ground grinding | grain into flour | a bag of flour | millstone | windmill | without flour there is no bread
baker | bake bakes baked baking | bread and rolls | a loaf of bread | oven | bakery | everybody needs bread in the morning
farmer | grow grows grew growing | oats and barley | a sack of oats | plough | big barn | the valley lives on grain
goose keeper | keep keeps kept keeping | geese | a basket of eggs | long stick | goose meadow | geese give eggs and soft feathers
barrel maker | make makes made making | barrels | a small barrel | mallet | barrel yard | apples and water keep well in barrels
beekeeper | keep keeps kept keeping | bees | a jar of honey | smoke pot | bee garden | bees give honey and wax
woodcutter | cut cuts cut cutting | firewood | a bundle of firewood | axe | wood shed | winters are cold
healer | make makes made making | tea and ointment from herbs | a bag of mint tea | stone bowl | herb room | people catch colds and cut their fingers
basket maker | weave weaves wove weaving | baskets from willow | a willow basket | small knife | willow shed | apples and eggs must be carried
candle maker | make makes made making | candles | a box of candles | wax pot | candle shop | the winter nights are dark
blacksmith | make makes made making | nails and hooks | a bag of nails | hammer | forge | nails hold doors and boats together
teacher | teach teaches taught teaching | children to read and count | a sheet of paper | chalk | school | children want to know things
innkeeper | cook cooks cooked cooking | soup for travellers | a pot of soup | ladle | inn | travellers are hungry and tired
mason | build builds built building | walls | a flat stone | chisel | stone yard | a good wall stands for a hundred years
clockmaker | mend mends mended mending | clocks | a small brass key | magnifying glass | clock shop | people want to know the time
fisher | catch catches caught catching | fish | a basket of fish | net | jetty | fresh fish makes a good supper
boat builder | build builds built building | boats | a wooden oar | saw | boatyard | people must cross the lake
rope maker | make makes made making | ropes | a coil of rope | rope wheel | rope shed | boats and bells need ropes
potter | make makes made making | pots and cups from clay | a clay pot | potter's wheel | pottery | cups and pots break now and then
thatcher | mend mends mended mending | roofs with reeds | a bundle of reeds | ladder | reed barn | a roof must keep the rain out
shepherd | watch watches watched watching | the sheep | a bag of wool | crook | high meadow | sheep give warm wool
weaver | weave weaves wove weaving | cloth from wool | a roll of cloth | loom | weaving room | coats and blankets are made of cloth
cheese maker | make makes made making | cheese | a round cheese | milk pail | dairy | cheese keeps longer than milk
bell ringer | ring rings rang ringing | the great bell | a little hand bell | bell rope | bell tower | the bell tells people when danger comes
tailor | sew sews sewed sewing | coats and trousers | a ball of thread | needle | tailor's shop | nobody likes to be cold
carpenter | make makes made making | tables and chairs | a wooden stool | measuring stick | workshop | every house needs a table
shoemaker | make makes made making | boots | a pair of boots | leather knife | boot shop | the roads are stony
letter carrier | carry carries carried carrying | letters | a stamp | leather bag | post house | friends live far apart
gardener | grow grows grew growing | apples and cabbages | a basket of apples | spade | walled garden | fresh apples keep people well
toy maker | carve carves carved carving | toys | a wooden horse | paint brush | toy shop | children love to play
"""

# name | sex | village | trade or "pupil" | animal | its name | food | colour | garment | pastime | friend | house
PEOPLE_ROWS = """
Otto | m | Oatfield | miller | donkey | Barley | onion soup | white | hat | playing the flute | Hugo | beside the windmill
Greta | f | Oatfield | baker | cat | Crumb | plum pie | red | apron | singing old songs | Bea | opposite the well
Abel | m | Oatfield | farmer | pig | Turnip | bean stew | green | jacket | whistling | Dora | at the end of the lane
Nell | f | Oatfield | goose keeper | goose | Feather | pancakes | yellow | scarf | drawing birds | Tess | near the duck pond
Ulf | m | Oatfield | barrel maker | dog | Pickle | smoked fish | brown | cap | playing the drum | Kell | behind the barn
Pim | m | Oatfield | pupil | hen | Button | honey cake | blue | cap | climbing trees | Fay | under the chestnut tree
Mira | f | Fernhollow | beekeeper | hedgehog | Thistle | nut bread | yellow | hat | pressing flowers | Rosa | beside the clear spring
Bram | m | Fernhollow | woodcutter | dog | Moss | potato pie | red | jacket | carving spoons | Milo | at the edge of the wood
Edda | f | Fernhollow | healer | owl | Juniper | mushroom soup | green | shawl | reading by the fire | Lena | under the hollow oak
Nils | m | Fernhollow | basket maker | rabbit | Clover | baked apples | grey | scarf | telling stories | Finn | behind the willow shed
Tess | f | Fernhollow | candle maker | mouse | Marble | pear tart | purple | dress | counting stars | Nell | next to the candle shop
Ina | f | Fernhollow | pupil | squirrel | Walnut | berry jam | orange | coat | collecting leaves | Jory | on the little hill
Kell | m | Stonebridge | blacksmith | dog | Cinder | cheese dumplings | black | apron | playing chess | Ulf | next to the bridge
Ruth | f | Stonebridge | teacher | tortoise | Pebble | carrot soup | blue | coat | drawing maps | Seth | behind the school
Hugo | m | Stonebridge | innkeeper | cat | Ginger | roast potatoes | white | apron | telling jokes | Otto | beside the inn
Ada | f | Stonebridge | mason | goat | Patch | pea soup | grey | jacket | collecting stones | Ivo | by the stone yard
Ivo | m | Stonebridge | clockmaker | crow | Tinker | cherry cake | purple | scarf | solving riddles | Ada | beside the fountain
Fay | f | Stonebridge | pupil | duck | Bean | apple cake | red | boots | skipping rope | Pim | under the walnut tree
Finn | m | Greywater | fisher | cat | Pepper | barley soup | blue | jacket | singing to the waves | Nils | next to the jetty
Orla | f | Greywater | boat builder | dog | Biscuit | fish stew | orange | scarf | swimming in the lake | Vigo | behind the boatyard
Seth | m | Greywater | rope maker | goat | Bramble | egg dumplings | brown | coat | tying knots | Ruth | near the lighthouse
Lena | f | Greywater | potter | frog | Sorrel | pumpkin soup | pink | apron | painting cups | Edda | under the willow tree
Arlo | m | Greywater | thatcher | pony | Dusty | cabbage stew | green | cap | playing the fiddle | Hanna | at the end of the shore path
Jory | m | Greywater | pupil | duck | Plum | butter biscuits | yellow | boots | skipping stones | Ina | next to the boat house
Milo | m | Larkhill | shepherd | sheep | Snowball | oat porridge | brown | cloak | playing the pipe | Bram | beside the high meadow
Hanna | f | Larkhill | weaver | cat | Mittens | apple dumplings | blue | shawl | dancing | Arlo | under the rowan tree
Rosa | f | Larkhill | cheese maker | goat | Daisy | walnut cake | white | dress | writing poems | Mira | behind the dairy
Vigo | m | Larkhill | bell ringer | crow | Smoke | leek soup | black | cloak | watching the clouds | Orla | at the foot of the bell tower
Bea | f | Larkhill | tailor | rabbit | Poppy | cherry pie | pink | scarf | knitting socks | Greta | opposite the bell tower
Sanna | f | Larkhill | pupil | hen | Acorn | raspberry jam | green | dress | flying kites | Cole | by the cold stream
Rafe | m | Pinecross | carpenter | dog | Copper | sausage stew | orange | cap | building bird houses | Pia | behind the workshop
Dora | f | Pinecross | shoemaker | hedgehog | Bristle | corn bread | red | shawl | playing the harp | Abel | next to the boot shop
Pia | f | Pinecross | letter carrier | pony | Whistle | lentil soup | blue | cloak | learning songs of birds | Rafe | near the tall signpost
Silas | m | Pinecross | gardener | tortoise | Mustard | beetroot soup | yellow | jacket | growing roses | Wilma | behind the garden wall
Wilma | f | Pinecross | toy maker | mouse | Nutmeg | poppy seed cake | purple | hat | making puppets | Silas | by the stone well
Cole | m | Pinecross | pupil | rabbit | Cricket | gingerbread | grey | coat | building snow castles | Sanna | under the tallest pine tree
"""

# What each child wants to become.
DREAMS = {
    "Pim": "blacksmith",
    "Ina": "healer",
    "Fay": "letter carrier",
    "Jory": "fisher",
    "Sanna": "shepherd",
    "Cole": "clockmaker",
}

# animal | plural | sound | eats | sleeps | known for
ANIMAL_ROWS = """
donkey | donkeys | brays | hay and thistles | in the stable | long ears
cat | cats | purrs | fish and milk | beside the stove | quiet paws
pig | pigs | grunts | potatoes and apples | in the straw | a curly tail
goose | geese | honks | fresh grass | in the goose house | a long white neck
dog | dogs | barks | meat and bones | in front of the door | a good nose
hen | hens | clucks | corn and worms | on a perch | brown eggs
hedgehog | hedgehogs | snuffles | beetles and worms | under the leaves | sharp spines
owl | owls | hoots | mice | in a hollow tree | big round eyes
rabbit | rabbits | thumps its foot | carrots and clover | in a burrow | soft fur
mouse | mice | squeaks | seeds and crumbs | behind the wall | tiny feet
squirrel | squirrels | chatters | nuts and seeds | high in a tree | a bushy tail
tortoise | tortoises | says nothing at all | lettuce and clover | inside its shell | a hard shell
goat | goats | bleats | leaves and bark | in the shed | small horns
crow | crows | caws | seeds and beetles | in the tallest tree | a clever head
duck | ducks | quacks | water plants and snails | among the reeds | broad yellow feet
frog | frogs | croaks | flies | in the pond | strong back legs
pony | ponies | whinnies | hay and oats | in the stable | a thick mane
sheep | sheep | bleats | grass | in the fold | warm wool
cow | cows | moos | grass and hay | in the barn | rich milk
bee | bees | hums | nectar | in the hive | sweet honey
fox | foxes | yelps | mice and berries | in a den | a red coat
"""

# food | what it is made of
FOOD_PARTS = {
    "onion soup": "onions, water and a little butter",
    "plum pie": "plums, flour and butter",
    "bean stew": "beans, onions and herbs",
    "pancakes": "eggs, milk and flour",
    "smoked fish": "fish and salt",
    "honey cake": "honey, flour and eggs",
    "nut bread": "flour, nuts and water",
    "potato pie": "potatoes, flour and butter",
    "mushroom soup": "mushrooms, milk and herbs",
    "baked apples": "apples, nuts and honey",
    "pear tart": "pears, flour and butter",
    "berry jam": "berries and honey",
    "cheese dumplings": "cheese, eggs and flour",
    "carrot soup": "carrots, water and herbs",
    "roast potatoes": "potatoes, salt and butter",
    "pea soup": "peas, onions and water",
    "cherry cake": "cherries, flour and eggs",
    "apple cake": "apples, flour and eggs",
    "barley soup": "barley, carrots and onions",
    "fish stew": "fish, potatoes and milk",
    "egg dumplings": "eggs, flour and salt",
    "pumpkin soup": "pumpkin, milk and butter",
    "cabbage stew": "cabbage, potatoes and salt",
    "butter biscuits": "butter, flour and honey",
    "oat porridge": "oats, milk and salt",
    "apple dumplings": "apples, flour and milk",
    "walnut cake": "walnuts, flour and eggs",
    "leek soup": "leeks, potatoes and water",
    "cherry pie": "cherries, flour and butter",
    "raspberry jam": "raspberries and honey",
    "sausage stew": "sausages, beans and onions",
    "corn bread": "corn, milk and butter",
    "lentil soup": "lentils, carrots and herbs",
    "beetroot soup": "beetroots, onions and water",
    "poppy seed cake": "poppy seeds, flour and milk",
    "gingerbread": "ginger, honey and flour",
}

OPPOSITES = """hot cold|big small|wet dry|full empty|old young|long short|light dark|fast slow|
high low|happy sad|hard soft|early late|open closed|loud quiet|clean dirty|strong weak|
heavy light|thick thin|warm cool|near far|good bad|wide narrow|sweet sour|brave afraid"""

# third person now | past
VERBS = """walks walked|sleeps slept|eats ate|carries carried|sings sang|finds found|brings brought|
makes made|sees saw|opens opened|closes closed|buys bought|sells sold|reads read|writes wrote|
helps helped|waits waited|runs ran|drinks drank|builds built|cooks cooked|washes washed|
mends mended|catches caught|gives gave|takes took|looks looked|works worked|plays played|
teaches taught|cuts cut|holds held|hears heard|feeds fed|calls called|paints painted"""

GROUPS = {
    "animal": "donkey cat pig goose dog hen hedgehog owl rabbit mouse goat crow duck frog pony cow",
    "colour": "red green blue yellow white black brown grey pink purple orange",
    "food": "bread soup cheese honey cake jam butter porridge stew pancake",
    "tool": "hammer axe saw spade needle ladder chisel plough ladle mallet loom",
    "tree": "oak willow pine walnut rowan chestnut",
    "season": "spring summer autumn winter",
    "fruit": "apple pear plum cherry raspberry",
    "vegetable": "carrot onion cabbage potato turnip leek bean",
}


class Person(Record):
    """A row of PEOPLE_ROWS; as text it is the name."""

    def __str__(self):
        return self.name


def _rows(text):
    return [[cell.strip() for cell in line.split("|")] for line in text.strip().split("\n")]


def _pairs(text):
    return [tuple(pair.split()) for pair in text.replace("\n", "").split("|")]


def _village(row):
    keys = "name landmark tree roofs day feast season known water lie".split()
    return Record(**dict(zip(keys, row)))


def _job(row):
    name, verbs, thing, item, tool, place, why = row
    base, does, did, doing = verbs.split()
    bare = item.split(" ", 1)[1]
    outside = ("forge", "stone yard", "boatyard", "barrel yard", "inn", "school", "post house")
    preposition = "on" if place == "jetty" else "at" if place in outside else "in"
    return Record(
        name=name,
        do=base + " " + thing,
        does=does + " " + thing,
        did=did + " " + thing,
        doing=doing + " " + thing,
        item=item,
        the_item="the " + bare,
        tool=tool,
        place="the " + place,
        at=preposition + " the " + place,
        why=why,
    )


def _person(row, villages, jobs):
    name, sex, village, job, animal, pet, food, colour, garment, hobby, friend, home = row
    he, him, his = ("he", "him", "his") if sex == "m" else ("she", "her", "her")
    plural = garment == "boots"
    place = villages[village]
    person = Person(
        name=name,
        he=he,
        him=him,
        his=his,
        he_is=he + " was",
        village=village,
        place=place,
        trade=job,
        child=job == "pupil",
        animal=animal,
        pet=pet,
        food=food,
        colour=colour,
        garment=garment,
        garb=colour + " " + garment,
        wear=("" if plural else "a ") + colour + " " + garment,
        garb_is="are" if plural else "is",
        garb_does="do" if plural else "does",
        hobby=hobby,
        friend_name=friend,
        home=home,
        kind="boy" if sex == "m" else "girl",
        self_word="himself" if sex == "m" else "herself",
        grown="man" if sex == "m" else "woman",
        job=jobs.get(job),
        dream=DREAMS.get(name, ""),
    )
    person.title = "the " + ("school" + person.kind if person.child else job)
    return person


VILLAGES = {row[0]: _village(row) for row in _rows(VILLAGE_ROWS)}
JOBS = {row[0]: _job(row) for row in _rows(JOB_ROWS)}
PEOPLE = {row[0]: _person(row, VILLAGES, JOBS) for row in _rows(PEOPLE_ROWS)}
ANIMALS = {
    row[0]: Record(**dict(zip("name plural sound eats sleeps known".split(), row)))
    for row in _rows(ANIMAL_ROWS)
}
OPPOSITE_PAIRS = _pairs(OPPOSITES)
VERB_PAIRS = _pairs(VERBS)

ADULTS = [p for p in PEOPLE.values() if not p.child]
CHILDREN = [p for p in PEOPLE.values() if p.child]
for _p in PEOPLE.values():
    _p.friend = PEOPLE[_p.friend_name]


def check():
    """Raises AssertionError when the tables contradict themselves."""
    assert len({p.pet for p in PEOPLE.values()}) == len(PEOPLE)
    assert len({p.garb for p in PEOPLE.values()}) == len(PEOPLE)
    assert len({p.food for p in PEOPLE.values()}) == len(PEOPLE)
    assert {p.trade for p in ADULTS} == set(JOBS) and len(ADULTS) == len(JOBS)
    for p in PEOPLE.values():
        assert p.friend.friend is p, p.name
        assert p.animal in ANIMALS and p.food in FOOD_PARTS and p.village in VILLAGES, p.name


check()
