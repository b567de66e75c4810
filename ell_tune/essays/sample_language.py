"""The language material of the sample essays: topics, sentence frames, connectives, common learner errors.

Clauses carry slots, which `sample_essays` fills according to the writer's skill:

- `{v:good|beneficial|valuable}`: vocabulary; a basic word, then richer ones.
- `{g:has|have}`: grammar; the right form, then a wrong one.
- `{p:make a decision|do a decision}`: phraseology; the right collocation, then a wrong one.

All of it was written for this file; nothing is taken from a learner's essay.
"""

from dataclasses import dataclass


@dataclass(frozen=True)
class Point:
    """One argument: `claim` because `reason`; `example` shows it. Clauses begin in lower case."""

    claim: str
    reason: str
    example: str


@dataclass(frozen=True)
class Topic:
    """What an essay can be about, and the arguments for its opinion."""

    opinion: str
    other_side: str
    points: tuple[Point, ...]


TOPICS = (
    Topic(
        "schools should {g:start|starts} later in the morning",
        "some parents {g:prefer|prefers} the old schedule",
        (
            Point(
                "students can {p:pay attention|put attention} to the lesson",
                "their mind {g:is|are} not {v:tired|exhausted|drowsy} any more",
                "my cousin {g:fell|fall} asleep in the first class almost every day",
            ),
            Point(
                "teenagers would have {v:good|excellent|robust} health",
                "the body {g:needs|need} eight or nine hours of sleep",
                "a nurse {g:told|tell} us that sleep {v:helps|strengthens|restores} the memory",
            ),
            Point(
                "families could {p:have breakfast|make breakfast time} together",
                "nobody {g:has|have} to leave the house in {v:a big hurry|frantic haste}",
                "my mother {g:drives|drive} me at six and we never eat at the table",
            ),
            Point(
                "the roads would be {v:safe|considerably safer|less hazardous} for everyone",
                "fewer young people {g:drive|drives} when it is still dark",
                "last winter two buses {g:were|was} late because of an accident near our school",
            ),
            Point(
                "the grades would {v:go up|improve noticeably|rise substantially}",
                "a rested student {g:makes|make} {v:few|remarkably few} mistakes in a test",
                "I {p:took a test|made a test} at ten o'clock and my result {g:was|were} better",
            ),
        ),
    ),
    Topic(
        "every student should {p:do community service|make community service}",
        "some people {g:say|says} that free time {g:belongs|belong} to the students",
        (
            Point(
                "young people {g:learn|learns} to {p:take responsibility|make responsibility} for others",
                "somebody really {g:depends|depend} on their help",
                "my brother {g:served|serve} food to {v:old|elderly|vulnerable} people every Sunday",
            ),
            Point(
                "volunteers {g:find|finds} out which job they {v:like|appreciate|find fulfilling}",
                "they {g:try|tries} {v:many|a wide variety of|diverse} tasks without a risk",
                "a girl from my class {g:helped|help} at a clinic and now she {g:wants|want} to be a doctor",
            ),
            Point(
                "the neighborhood {g:becomes|become} a {v:nice|pleasant|more welcoming} place",
                "the volunteers {v:clean|restore|revitalize} the parks and {g:plant|plants} trees",
                "our group {g:painted|paint} the wall of the library and people {g:were|was} proud",
            ),
            Point(
                "students {p:make friends|do friends} of every age",
                "they {g:work|works} next to people whom they would never {v:meet|encounter}",
                "I still {g:talk|talks} to a gardener who {g:taught|teach} me the names of the birds",
            ),
            Point(
                "it {p:makes a difference|does a difference} in the life of somebody",
                "even a {v:small|modest|seemingly trivial} action {g:has|have} an effect",
                "one {g:child|children} could not read, and after a month he {g:read|reads} a whole story",
            ),
        ),
    ),
    Topic(
        "students should {g:be|being} allowed to use phones in class",
        "many teachers {g:think|thinks} that phones are a {v:problem|distraction|serious nuisance}",
        (
            Point(
                "a phone {g:is|are} a {v:good|powerful|versatile} tool for learning",
                "all the information {g:is|are} in the hand of the student",
                "in biology we {g:looked|look} for the name of a plant and {g:found|find} it in a minute",
            ),
            Point(
                "students can {p:do research|make research} by themselves",
                "the school {g:does|do} not have {v:enough|sufficient} computers",
                "my class {g:shares|share} ten laptops and half of them {g:are|is} broken",
            ),
            Point(
                "newcomers can {v:understand|comprehend|follow} the lesson",
                "a translator {g:gives|give} them the words that they {v:do not know|have never encountered}",
                "when I {g:arrived|arrive} in this country my phone {g:was|were} my only dictionary",
            ),
            Point(
                "parents {g:feel|feels} {v:calm|reassured|more at ease}",
                "they can {p:get in touch|take in touch} with their children in an emergency",
                "there {g:was|were} a storm in March and my father {g:sent|send} me a message",
            ),
            Point(
                "young people {g:learn|learns} to {v:use|handle|manage} technology with care",
                "a rule that they understand {g:works|work} better than a ban",
                "our teacher {g:asks|ask} us to {p:take a break|do a break} from the screen every half hour",
            ),
        ),
    ),
    Topic(
        "a person {g:learns|learn} more from failure than from success",
        "other people {g:believe|believes} that failure only {g:makes|make} us {v:sad|discouraged}",
        (
            Point(
                "we {g:discover|discovers} what we must {v:change|adjust|reconsider}",
                "a mistake {g:shows|show} us the {v:weak|vulnerable} part of the plan",
                "my first cake {g:was|were} like a stone, so I {g:learned|learn} to measure the flour",
            ),
            Point(
                "failure {g:makes|make} us {v:strong|resilient|more determined}",
                "a person who {p:makes an effort|does an effort} again {g:is|are} not afraid",
                "my uncle {g:lost|lose} his shop and two years later he {g:opened|open} a better one",
            ),
            Point(
                "we {g:become|becomes} more {v:kind|humble|compassionate} with others",
                "everybody who has failed {g:knows|know} how it feels",
                "our captain {g:missed|miss} a goal and after that he never {g:shouted|shout} at a player",
            ),
            Point(
                "people {g:find|finds} {v:new|original|ingenious} ideas",
                "the first way {g:is|are} closed and they {p:have no choice|make no choice}",
                "an inventor {g:tries|try} a hundred lamps before one of them {g:gives|give} light",
            ),
            Point(
                "success {g:tastes|taste} {v:better|sweeter|far more rewarding}",
                "we {g:remember|remembers} how {v:hard|demanding|strenuous} the road was",
                "I {g:failed|fail} the exam, and the second time I {p:burst into tears|broke in tears}",
            ),
        ),
    ),
    Topic(
        "it {g:is|are} better to work in a group than alone",
        "there {g:are|is} students who {v:like|favor|prefer} to work in silence",
        (
            Point(
                "the work is finished {v:fast|promptly|in considerably less time}",
                "each member {g:does|do} the part that he or she {g:knows|know} best",
                "we {g:built|build} a bridge of paper in one afternoon because we {g:were|was} five",
            ),
            Point(
                "a group {p:comes up with ideas|makes up with ideas} that one person would miss",
                "every head {g:sees|see} the {v:problem|challenge|dilemma} from another side",
                "in the science fair a quiet boy {g:had|have} the {v:best|most brilliant} idea of all",
            ),
            Point(
                "we {v:learn|acquire the ability|gradually learn} to listen",
                "nobody can {p:reach an agreement|arrive an agreement} while all {g:speak|speaks}",
                "my partner and I {g:argued|argue} about the title, and then we {g:chose|choose} a third one",
            ),
            Point(
                "the shy students {g:gain|gains} {v:courage|self-confidence}",
                "it {g:is|are} easier to speak in front of three friends than in front of a class",
                "a girl who never {g:talked|talk} {p:gave a presentation|made a presentation} with us in May",
            ),
            Point(
                "it {v:prepares|equips|readies} us for a job",
                "almost every company {g:needs|need} people who can {v:work together|collaborate|cooperate}",
                "my sister {g:works|work} in a bank and never {p:makes a decision|does a decision} alone",
            ),
        ),
    ),
    Topic(
        "people should {g:spend|spending} more time in nature",
        "some people {g:prefer|prefers} to {p:spend time|pass the time} in front of a screen",
        (
            Point(
                "a walk outside {g:makes|make} us {v:happy|cheerful|more serene}",
                "the mind {g:forgets|forget} the {v:problems|worries|pressures} of the day",
                "after my exams I {g:sat|sit} by the river and all the stress {g:was|were} gone",
            ),
            Point(
                "we {g:stay|stays} {v:healthy|fit|in splendid shape}",
                "the fresh air and the movement {g:are|is} good for the heart",
                "my grandfather {p:goes for a walk|makes a walk} each morning and he never {g:gets|get} sick",
            ),
            Point(
                "children {g:learn|learns} to {v:love|respect|cherish} animals and plants",
                "nobody {p:takes care|makes care} of a thing that they {g:have|has} never seen",
                "my little sister {g:found|find} a frog, and now she {g:wants|want} to save every pond",
            ),
            Point(
                "families {g:talk|talks} more with {g:each other|each others}",
                "there {g:is|are} no television that {v:takes|captures|monopolizes} the attention",
                "when we {g:camped|camp} my father {g:told|tell} us stories that we {g:had|have} never heard",
            ),
            Point(
                "it {g:does|do} not cost {v:much|a fortune|an exorbitant amount}",
                "a park or a beach {g:is|are} open for all people",
                "we {g:take|takes} bread, {p:catch the bus|grab up the bus} and {g:have|has} a perfect day",
            ),
        ),
    ),
)

# How a point's claim and reason become sentences: short or running on, or with subordinate clauses.
PLAIN_FRAMES = (
    "{claim}. {reason}.",
    "{claim}. This is because {reason}.",
    "{reason}. So {claim}.",
    "{claim} {reason} and that is why I think like this.",
    "{claim}, {reason}, everybody knows that.",
    "{claim} and {reason} and it is true and I see it all the time.",
)
COMPLEX_FRAMES = (
    "since {reason}, {claim}.",
    "not only do I believe that {claim}, but I would also add that {reason}.",
    "it is precisely because {reason} that {claim}.",
    "although not everyone would agree, {claim}, given that {reason}.",
    "what many people overlook is that {reason}, which means that {claim}.",
)

# Braces are doubled around slots, because {opinion} and {other_side} are filled in by str.format first.
OPENINGS = (
    "in my opinion, {opinion}. I know that {other_side}, but I {{g:want|wants}} to explain my reasons.",
    "do you think that {opinion}? I {{g:think|thinks}} so, even if {other_side}.",
    "today there {{g:is|are}} a {{v:big|heated|lively}} discussion in my school. I believe that {opinion}.",
    "{other_side}. I {{g:have|has}} another opinion, and I say that {opinion}.",
)
CLOSINGS = (
    "I believe that {opinion}. I hope that people {{g:think|thinks}} about it.",
    "it {{g:is|are}} clear for me that {opinion}. This {{v:change|measure|decision}} would help us all.",
    "even if {other_side}, the {{v:good|positive|compelling}} reasons are more, and {opinion}.",
)
# After an example, where a paragraph has room for one more sentence.
COMMENTS = (
    "that day I {g:understood|understand} how {v:important|crucial|essential} it {g:is|are}.",
    "this {g:shows|show} that a {v:small|minor|subtle} thing can {v:change|transform|influence} a life.",
    "I {g:was|were} {v:surprised|astonished|amazed}, and I still {g:remember|remembers} it.",
    "my friends {g:have|has} {v:seen|witnessed|experienced} the same, and they {g:agree|agrees} with me.",
    "nobody {g:expects|expect} this, and it {p:takes time|makes time} to {v:see|recognize|appreciate} it.",
    "I {g:tell|tells} it to all who {p:has doubts|makes doubts}: it {g:is|are} {v:true|undeniable|evident}.",
    "we should {p:keep it in mind|have it in the mind} when we {p:give our opinion|make our opinion}.",
)
# What a writer who loses the thread says instead.
DIGRESSIONS = (
    "My favorite food is the rice of my aunt.",
    "I also have a dog and he is brown.",
    "In the weekend I watch soccer with my friends.",
    "My city is very big and it has a lot of stores.",
)

FIRST_CONNECTIVES = ("First of all, ", "To begin with, ", "Above all, ")
NEXT_CONNECTIVES = ("In addition, ", "Furthermore, ", "Apart from that, ", "On top of that, ")
LAST_CONNECTIVES = ("In conclusion, ", "To sum up, ", "For all these reasons, ")
EXAMPLE_CONNECTIVES = ("For example, ", "For instance, ", "To give an example, ")
WEAK_CONNECTIVES = ("And ", "Also ", "And also ", "Then ", "")

MISSPELLINGS = {
    "because": "becuase", "their": "thier", "people": "peaple", "friends": "freinds", "believe": "belive",
    "would": "wuold", "should": "shoud", "really": "realy", "different": "diferent", "school": "scool",
    "teacher": "techer", "students": "studens", "student": "studen", "think": "thik", "always": "alway",
    "know": "now", "which": "wich", "learn": "lern", "important": "importan", "example": "exemple",
    "opinion": "opinon", "another": "anoter", "every": "evry", "children": "childrens", "reason": "reson",
    "reasons": "resons", "family": "famely", "families": "famelies", "together": "togheter", "what": "wat",
    "that": "taht", "with": "whit", "when": "wen", "everybody": "evrybody", "there": "ther",
    "explain": "explane", "understand": "undestand", "morning": "mornig", "better": "beter",
    "nobody": "no body", "before": "befor",
    "some": "som", "other": "oder", "others": "oders", "more": "mor", "never": "neber", "first": "firts",
    "they": "thay", "class": "clas", "work": "wrok", "young": "yung", "have": "hav", "very": "bery",
}  # fmt: skip
