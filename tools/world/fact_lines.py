# SPDX-License-Identifier: MIT
"""Every fact of the world in many wordings.

$p is the person, $n the subject of the sentence (the name or he/she), $ns its possessive. Lines under
NOW are in the present tense, lines under PAST belong into stories. ABOUT holds lines that name the
person last, so that facts can be read in both directions.
"""

import re

from facts import ANIMALS, FOOD_PARTS

NOW = {
    "village": (
        """
        $n lives in $p.village.
        $n {has a house|has a small house} in $p.village.
        $ns home is in $p.village, $p.place.lie.
        $n comes from $p.village.
        {you can find|you will find} $n2 in $p.village, $p.place.lie.
        $n {was born|grew up} in $p.village and still lives there.
        the village of $p is $p.village."""
    ),
    "job": (
        """
        $n is the $p.trade of $p.village.
        $n works as the $p.trade {in|of} $p.village.
        $n is a $p.trade and $p.job.does.
        $ns work is $p.job.doing.
        $n $p.job.does {every day|all year|from morning to evening}.
        $n $p.job.does, because $p.job.why.
        as the $p.trade, $n3 $p.job.does.
        by trade $n3 is a $p.trade."""
    ),
    "work": (
        """
        $n works $p.job.at.
        $n spends most of the day $p.job.at.
        {in the morning|after breakfast} $n3 goes to $p.job.place.
        the most important tool {of $p|in $ns hands} is the $p.job.tool.
        $n never works without the $p.job.tool.
        for $p.his work $n3 needs the $p.job.tool.
        if you want to buy $p.job.item, {ask|go to} $n2.
        from $n2 you can buy $p.job.item."""
    ),
    "wear": (
        """
        $n always wears $p.wear.
        $n {likes to wear|often wears|wears} $p.wear.
        you can tell $n2 by the $p.garb.
        $ns $p.garment $p.garb_is $p.colour.
        people know $n2 by the $p.garb.
        $p.colour is the colour of $ns $p.garment.
        {on cold days and on warm days|in every season} $n3 wears $p.wear."""
    ),
    "pet": (
        """
        $n has a $p.animal called $p.pet.
        $n {keeps|looks after} a $p.animal named $p.pet.
        $ns $p.animal is called $p.pet.
        $ns $p.animal has the name $p.pet.
        $p.pet is the name of $ns $p.animal.
        $n shares the house with $p.pet, a $p.animal.
        $p.pet, $ns $p.animal, {is never far away|comes along everywhere|waits at the door}.
        the $p.animal of $p is named $p.pet."""
    ),
    "food": (
        """
        $n likes $p.food best.
        $ns favourite food is $p.food.
        what $n3 likes to eat most is $p.food.
        for supper $n3 likes $p.food best {of all|}.
        $n loves $p.food.
        $n would walk a long way for $p.food.
        on holidays $n3 eats $p.food, $p.his favourite.
        nothing tastes as good to $n2 as $p.food."""
    ),
    "hobby": (
        """
        in the evening $n3 likes $p.hobby.
        $n likes $p.hobby {when the work is done|after work|in $p.his free time}.
        $ns favourite pastime is $p.hobby.
        when the day is over, $n3 enjoys $p.hobby.
        $n {loves|enjoys} $p.hobby.
        $n is happy when $p.he is $p.hobby."""
    ),
    "friend": (
        """
        $ns best friend is $p.friend {of|from} $p.friend.village.
        $ns best friend is $p.friend.
        $n and $p.friend are best friends.
        $n has a best friend called $p.friend.
        $p.friend from $p.friend.village is the best friend of $p.
        of all people $n3 likes $p.friend best."""
    ),
    "home": (
        """
        $ns house stands $p.home.
        $n lives $p.home.
        the house of $p stands $p.home.
        you find $ns house $p.home."""
    ),
    "dream": (
        """
        one day $n3 wants to be a $p.dream.
        $n wants to become a $p.dream.
        $ns dream is to become a $p.dream.
        when $n3 is grown up, $p.he wants to be a $p.dream."""
    ),
}

ABOUT = {
    "job": (
        """
        the $p.trade of $p.village is $p.
        the person who $p.job.does in $p.village is $p.
        in $p.village the $p.trade is called $p.
        who $p.job.does in $p.village? that is $p."""
    ),
    "work": (
        """
        the person who works $p.job.at in $p.village is $p.
        the $p.job.tool belongs to $p.
        if you need $p.job.item, you must ask $p."""
    ),
    "wear": (
        """
        the $p.garb you see {on the road|at the market} belongs to $p.
        if you see someone in $p.wear, it is $p.
        the one in the $p.garb is $p.
        $p.wear: that must be $p."""
    ),
    "pet": (
        """
        the $p.animal $p.pet belongs to $p.
        $p.pet the $p.animal lives with $p.
        the owner of $p.pet, the $p.animal, is $p.
        $p.pet is the $p.animal of $p."""
    ),
    "food": (
        """
        the person who likes $p.food best is $p.
        $p.food is the favourite food of $p.
        nobody likes $p.food more than $p."""
    ),
    "hobby": (
        """
        $p.hobby is the favourite pastime of $p.
        someone in $p.village loves $p.hobby, and that is $p."""
    ),
    "friend": (
        """
        the best friend of $p.friend is $p.
        if $p.friend needs help, {the first to come is|someone always comes, and that is} $p."""
    ),
    "home": (
        """
        the house $p.home in $p.village belongs to $p.
        in the house $p.home in $p.village lives $p."""
    ),
    "dream": (
        """
        the child who wants to become a $p.dream is $p."""
    ),
}

PAST = {
    "village": (
        """
        $n lived in $p.village.
        $n came from $p.village, $p.place.lie."""
    ),
    "job": (
        """
        $n was the $p.trade of $p.village.
        $n was the $p.trade of $p.village and $p.job.did.
        $n $p.job.did, because $p.job.why.
        $n worked $p.job.at and $p.job.did."""
    ),
    "work": (
        """
        $n had the $p.job.tool with $p.him, as always.
        $n had worked $p.job.at all morning."""
    ),
    "wear": (
        """
        $n wore $p.his $p.garb.
        $n wore $p.wear, as always.
        $n had $p.his $p.garb on.
        you could see $ns $p.garb from far away.
        $n pulled $p.his $p.garb tight."""
    ),
    "pet": (
        """
        $n had a $p.animal called $p.pet.
        $ns $p.animal was called $p.pet.
        $n lived with $p.pet, a $p.animal.
        $p.pet the $p.animal was never far away from $n2.
        at home $ns $p.animal $p.pet was waiting."""
    ),
    "along": (
        """
        $n and $p.pet the $p.animal {came together|were a funny pair}.
        $ns $p.animal $p.pet {stood|sat} beside $p.him.
        $n had $p.pet the $p.animal with $p.him.
        behind $n2 {stood|came} $p.pet the $p.animal."""
    ),
    "food": (
        """
        $n was thinking of $p.food, $p.his favourite food.
        there was $p.food at home, which $n3 liked best of all.
        $n was hungry and dreamed of $p.food, because $p.he liked nothing better."""
    ),
    "hobby": (
        """
        $n liked $p.hobby, and $p.he had hoped for a free hour.
        on most evenings $n3 enjoyed $p.hobby."""
    ),
    "friend": (
        """
        $n wished that $p.his best friend $p.friend was there.
        $n thought of $p.friend, $p.his best friend."""
    ),
    "home": (
        """
        $ns house stood $p.home."""
    ),
    "dream": (
        """
        $n wanted to become a $p.dream one day.
        $n went to school in Stonebridge, but $p.he dreamed of being a $p.dream."""
    ),
}

VILLAGE_NOW = {
    "lie": (
        """
        $v lies $v.lie.
        $v is a village $v.lie.
        you find $v $v.lie."""
    ),
    "landmark": (
        """
        $v has a $v.landmark that everybody knows.
        the first thing you see in $v is the $v.landmark.
        $v is proud of its $v.landmark.
        the $v.landmark stands in $v."""
    ),
    "tree": (
        """
        a big $v.tree grows in the middle of $v.
        in $v people meet under the $v.tree.
        the oldest tree in $v is the $v.tree."""
    ),
    "roofs": (
        """
        the roofs of $v are $v.roofs.
        the houses in $v have $v.roofs roofs.
        all the roofs in $v are painted $v.roofs.
        you can tell $v by its $v.roofs roofs."""
    ),
    "day": (
        """
        market day in $v is $v.day.
        in $v the market is on $v.day.
        every $v.day there is a market in $v.
        on $v.day people come to the market in $v."""
    ),
    "feast": (
        """
        the feast of $v is the $v.feast in $v.season.
        in $v.season $v celebrates the $v.feast.
        every $v.season the people of $v celebrate the $v.feast.
        the $v.feast is held in $v in $v.season."""
    ),
    "known": (
        """
        $v is known for $v.known.
        everybody in the valley knows $v for $v.known.
        people come to $v for $v.known."""
    ),
    "water": (
        """
        the water of $v comes from the $v.water.
        children in $v play near the $v.water.
        beside the $v.water in $v there is a bench."""
    ),
}


# Lines that hold the name when the subject is to be the name.
NAMED = re.compile(r"\$(n[23]?|ns)\b|\$p(?!\.\w)")


def lines(text):
    return [line.strip() for line in text.strip().split("\n")]


NOW_LINES = {key: lines(text) for key, text in NOW.items()}
ABOUT_LINES = {key: lines(text) for key, text in ABOUT.items()}
PAST_LINES = {key: lines(text) for key, text in PAST.items()}
VILLAGE_LINES = {key: lines(text) for key, text in VILLAGE_NOW.items()}
PERSON_KEYS = ["village", "job", "work", "wear", "pet", "food", "hobby", "friend", "home"]


def keys_of(person):
    """The kinds of facts that this person has."""
    if person.child:
        return ["village", "wear", "pet", "food", "hobby", "friend", "home", "dream"]
    return PERSON_KEYS


def fact(w, person, key, subject=None, table=NOW_LINES):
    """One sentence about the person. subject None: chosen at random between name and pronoun."""
    pronoun = w.chance(0.5) if subject is None else subject == "he"
    lines = table[key]
    if subject == "name":
        lines = [line for line in lines if NAMED.search(line)]
    line = w.pick(lines)
    if person.garment == "boots":
        line = line.replace("belongs", "belong")
    kept = dict(w.slots)
    w.set(
        p=person,
        n=person.he if pronoun else person.name,
        n2=person.him if pronoun else person.name,
        n3=person.he if pronoun else person.name,
        ns=person.his if pronoun else person.name + "'s",
    )
    text = w.expand(line)
    w.slots = kept
    return text


def village_fact(w, village, key):
    kept = dict(w.slots)
    w.set(v=VillageName(village))
    text = w.expand(w.pick(VILLAGE_LINES[key]))
    w.slots = kept
    return text


class VillageName:
    """A village whose text is its name."""

    def __init__(self, village):
        self.__dict__.update(village.__dict__)

    def __str__(self):
        return self.name


def pet_line(w, person):
    """What the animal of this person is like."""
    kind = ANIMALS[person.animal]
    return w.expand(
        w.pick(
            [
                "like all %s, %s eats %s." % (kind.plural, person.pet, kind.eats),
                "%s sleeps %s and eats %s." % (person.pet, kind.sleeps, kind.eats),
                "%s has %s." % (person.pet, kind.known),
                "at night %s sleeps %s." % (person.pet, kind.sleeps),
                "when %s is happy, it %s." % (person.pet, kind.sound),
            ]
        )
    )


def food_line(w, person):
    """What the favourite food of this person is made of."""
    parts = FOOD_PARTS[person.food]
    return w.pick(["you need %s for that." % parts, "for %s you need %s." % (person.food, parts)])
