# SPDX-License-Identifier: MIT
"""Small explanations, and what words mean: the tables that explain.py writes out."""

# Topic, question, then the steps of the answer; a step offers wordings.
TOPICS = [
    (
        "bread",
        "How does grain become bread?",
        [
            "first the farmer {grows|sows} the grain {in the wide fields|in spring}.",
            "in late summer the grain is {cut|brought into the barn}.",
            "the miller grinds it into flour {with the heavy millstone|in the windmill}.",
            (
                "the baker mixes the flour with water and salt and {works it with both hands|makes"
                " a soft dough}."
            ),
            "the dough must rest {for an hour|in a warm place} until it has risen.",
            "then it goes into the hot oven, and soon the whole street smells of bread.",
        ],
    ),
    (
        "honey",
        "Where does honey come from?",
        [
            "bees fly from flower to flower and drink nectar.",
            "they carry the nectar home {to the hive|in their small bodies}.",
            "there they put it into cells of wax and fan it with their wings until it is thick.",
            "now it is honey. The bees {need|keep} it for the winter.",
            (
                "the beekeeper takes only a part of it {and leaves the rest|because the bees must"
                " eat too}."
            ),
        ],
    ),
    (
        "wool",
        "How does a sheep give us a coat?",
        [
            "in spring the shepherd cuts the wool of the sheep. It does not hurt.",
            "the wool is washed {in the stream|in warm water} and dried in the sun.",
            "then it is {made into long threads|spun into thread}.",
            "the weaver puts the threads on the loom and makes cloth.",
            (
                "the tailor cuts the cloth and sews it with a needle. {Then the coat is ready|Now"
                " winter may come}."
            ),
        ],
    ),
    (
        "cheese",
        "How is cheese made?",
        [
            "first the cheese maker warms the milk {slowly|over a small fire}.",
            "after a while the milk becomes thick.",
            "it is cut and put into a round form.",
            "the water runs out, and the cheese becomes firm.",
            "then it is rubbed with salt and lies {in a cool room|in the cellar} for many weeks.",
            "the longer it waits, the stronger it tastes.",
        ],
    ),
    (
        "candles",
        "How are candles made?",
        [
            "the wax comes from the bees.",
            "the candle maker melts it in the wax pot.",
            "a thin string is held into the warm wax and lifted out again.",
            "when the wax is cold, the string goes in again, {ten times or more|again and again}.",
            "each time the candle becomes {a little thicker|thicker and thicker}.",
        ],
    ),
    (
        "pots",
        "How does clay become a pot?",
        [
            "clay is soft earth {from the shore of the lake|that is found near water}.",
            "the potter puts a piece of it on the wheel.",
            "the wheel turns, and with wet hands the potter gives the clay its form.",
            "the pot must dry for some days.",
            "then it is put into a very hot fire, and it becomes hard.",
            "after that it can hold {water, milk or soup|anything you like}.",
        ],
    ),
    (
        "rain",
        "Where does the rain come from?",
        [
            "the sun warms the lake and the river.",
            "a little of the water rises into the air. You cannot see it.",
            "high up it is cold, and there the water becomes a cloud.",
            "when the drops are heavy enough, they fall down as rain.",
            (
                "the rain runs into the streams, the streams run into the river, and so it begins"
                " again."
            ),
        ],
    ),
    (
        "snow",
        "Why does it snow?",
        [
            "in winter the air high above us is very cold.",
            "there the water does not fall as rain. It freezes.",
            "small stars of ice are made, and no two of them are the same.",
            "they fall slowly, because they are so light.",
            "many of them together make the fields white.",
        ],
    ),
    (
        "ice",
        "Why does the pond freeze?",
        [
            "when the nights are cold, water becomes hard. Then we call it ice.",
            "the top of the pond freezes first.",
            "below the ice there is still water, and there the fish live.",
            (
                "thin ice breaks. So nobody may step on it before the old people say that it is"
                " thick enough."
            ),
            "in spring the sun melts the ice.",
        ],
    ),
    (
        "fog",
        "What is fog?",
        [
            "fog is a cloud that lies on the ground.",
            "it comes in the morning, when the air is cool and wet.",
            "in fog you cannot see far, but you can hear well.",
            "that is why {the great bell is rung|the fishers blow a horn}.",
            "when the sun is high enough, the fog disappears.",
        ],
    ),
    (
        "boats",
        "Why does a boat not sink?",
        [
            "a stone sinks, because it is heavy for its size.",
            "a boat is hollow. It is full of air.",
            "it pushes the water aside, and the water pushes back and holds it.",
            "if water comes in through a hole, the boat becomes heavy and sinks.",
            "that is why the boat builder closes every little gap.",
        ],
    ),
    (
        "nails",
        "How is a nail made?",
        [
            "iron is hard. But in a very hot fire it becomes red and soft.",
            "the blacksmith takes it out of the fire and hits it with the hammer.",
            "{bang, bang, bang|blow after blow}: one end becomes thin, the other one flat.",
            "then the nail is put into cold water. It hisses, and a small cloud rises.",
            "now it is hard again and can hold a door.",
        ],
    ),
    (
        "roofs",
        "Why are roofs made of reeds?",
        [
            "reeds grow on the shore of the lake.",
            "they are light, and the air between them keeps the house warm.",
            "the thatcher cuts them in winter and ties them into bundles.",
            "the bundles are laid on the roof, one above the other, so that the rain runs down.",
            "a good roof of reeds lasts for thirty years.",
        ],
    ),
    (
        "trees",
        "Why do the leaves fall in autumn?",
        [
            "leaves need light and water.",
            "in autumn the days become short, and in winter the ground is frozen.",
            "so the tree lets its leaves fall and sleeps.",
            "before they fall, they turn yellow, red and brown.",
            "under the old leaves many small animals {sleep|hide}.",
            "in spring new leaves come.",
        ],
    ),
    (
        "seeds",
        "How does a plant grow?",
        [
            "every plant begins as a seed.",
            "in the wet, warm earth the seed opens.",
            "a root grows down and a leaf grows up to the light.",
            "the plant drinks with its roots and eats the light with its leaves.",
            "later it has flowers, and the flowers become fruit with new seeds.",
        ],
    ),
    (
        "geese",
        "Why do wild geese fly away?",
        [
            "wild geese eat grass and water plants.",
            "in winter these are under the snow.",
            "so in autumn the geese fly to the south, where it is warm.",
            "they fly in a long line. The first one has the hardest work, and they take turns.",
            "in spring they come back {to the same lake|and everybody looks up}.",
        ],
    ),
    (
        "squirrels",
        "How do animals live through the winter?",
        [
            "the squirrel hides nuts in autumn and finds most of them again.",
            "the hedgehog eats until it is fat. Then it sleeps under the leaves until spring.",
            "the fox and the hare get a thick coat.",
            "the frog sleeps in the mud of the pond.",
            "the hens stay in the house and lay fewer eggs.",
        ],
    ),
    (
        "the night",
        "Why is it dark at night?",
        [
            "the earth is a big ball, and it turns slowly.",
            "when our side looks at the sun, it is day.",
            "when our side has turned away, it is night.",
            "then we see the stars. They are always there, but by day the sun is too bright.",
            "the moon has no light of its own. It shows us the light of the sun.",
        ],
    ),
    (
        "echoes",
        "What is an echo?",
        [
            "when you call in the hills, your voice flies away from you.",
            "it meets a wall of rock and comes back like a ball.",
            "then you hear your own words again.",
            "the farther the rock, the longer you must wait.",
            "children think that a giant answers.",
        ],
    ),
    (
        "bridges",
        "Why does an arch hold?",
        [
            "an arch is a round way over the water.",
            "each stone leans against the next one.",
            "the more weight lies on it, the more they press together.",
            "the stone in the middle is put in last. Without it, everything would fall down.",
            "the bridge of Stonebridge has three such arches.",
        ],
    ),
    (
        "clocks",
        "How does a clock work?",
        [
            "in a clock there are many small wheels.",
            "a weight or a spring pulls at the first wheel.",
            "one wheel turns the next one, and the last one turns the hands.",
            "a small piece goes tick and tock and lets the wheels turn only step by step.",
            "once a day somebody must wind the clock with a key.",
        ],
    ),
    (
        "baskets",
        "How is a basket made?",
        [
            "the thin branches of the willow are cut in winter.",
            "they lie in water until they are soft.",
            "first the bottom is made, round or square.",
            "then the branches go over and under, over and under, until the walls are high enough.",
            "last of all comes the handle.",
        ],
    ),
    (
        "friends",
        "What makes a good friend?",
        [
            "a good friend listens.",
            "a good friend tells you the truth, even if it is hard.",
            "you can laugh together and be silent together.",
            "friends may quarrel, but then they make peace.",
            "if you want a friend, be one.",
        ],
    ),
    (
        "market days",
        "What happens on market day?",
        [
            "early in the morning the carts arrive.",
            "the sellers put up their tables and lay out their things.",
            "people from other villages come to buy, to sell and to talk.",
            "some pay with coins, and some give one thing for another.",
            "at noon the inn is full, and in the evening the place is swept clean.",
        ],
    ),
]

# Words about words and tasks, as a teacher explains them.
WORDS = [
    (
        "instruction",
        "an instruction tells you what you should do",
        '"Close the door" is an instruction',
    ),
    (
        "request",
        "a request asks for something in a polite way",
        '"Please give me some water" is a request',
    ),
    ("task", "a task is a piece of work that somebody gives you", "to feed the hens is a task"),
    (
        "response",
        "a response is what you say or write when somebody asks you something",
        "when I call your name and you answer, that is a response",
    ),
    ("question", "a question wants to know something", '"Where is my hat?" is a question'),
    ("answer", "an answer tells what the question wants to know", '"On the chair" is an answer'),
    ("reason", "a reason tells why", '"because it rains" is a reason'),
    (
        "sentence",
        "a sentence is a row of words that says something",
        '"The cat sleeps" is a sentence',
    ),
    ("word", "a word is made of letters", '"cat" is a word of three letters'),
    (
        "context",
        "the context is everything around a word that helps you understand it",
        "in the context of a farm, a field is a piece of land",
    ),
    ("input", "input is what is put in", "flour and water are the input of a baker"),
    (
        "pair",
        "two things that belong together are a pair, and we say that they are paired",
        "two boots are a pair",
    ),
    (
        "complete",
        "if nothing is missing, a thing is complete",
        "a child completes a sentence by finding the last word",
    ),
    (
        "describe",
        "to describe a thing means to say what it is like",
        "a letter can describe a journey",
    ),
    (
        "provide",
        "to provide something means to give what is needed",
        "the baker provides the village with bread",
    ),
    (
        "appropriate",
        "if something fits well, it is appropriate",
        "at a feast a clean shirt is appropriate, and a polite guest answers appropriately",
    ),
    (
        "further",
        "further means more, or still more far",
        "if you do not understand, ask a further question",
    ),
    ("fact", "a fact is something that is true", "it is a fact that ice is cold"),
    ("name", "a name tells us who or what is meant", "every pet in the valley has a name"),
    (
        "list",
        "a list has one thing below the other",
        "before you go to the market, you write a list",
    ),
    ("rule", "a rule says what is allowed", '"Do not run on the bridge" is a rule'),
    ("promise", "a promise is a word that you must keep", '"I will come tomorrow" is a promise'),
]
