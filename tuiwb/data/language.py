"""The language of a text by its script and its commonest words: enough for a chart, not for a court."""

import re
from collections import Counter

_SCRIPTS = (
    ("Japanese", re.compile("[\u3040-\u30ff]")),
    ("Korean", re.compile("[\uac00-\ud7af]")),
    ("Chinese", re.compile("[\u4e00-\u9fff]")),
    ("Arabic", re.compile("[\u0600-\u06ff]")),
    ("Hebrew", re.compile("[\u0590-\u05ff]")),
    ("Hindi", re.compile("[\u0900-\u097f]")),
    ("Bengali", re.compile("[\u0980-\u09ff]")),
    ("Tamil", re.compile("[\u0b80-\u0bff]")),
    ("Thai", re.compile("[\u0e00-\u0e7f]")),
    ("Greek", re.compile("[\u0370-\u03ff]")),
    ("Ukrainian", re.compile("[іїєґ]")),
    ("Russian", re.compile("[\u0400-\u04ff]")),
)
_WORDS = {
    "English": "the of and to in is that it for with are was this be have not on you as can what how",
    "German": "der die das und ist nicht ein eine mit für auf den von zu sich es dem wie ich auch",
    "French": "le la les et des est une dans que pour pas qui sur du au avec ce sont plus vous",
    "Spanish": "el la los las y que en es una por con para del como no su se más pero esta",
    "Italian": "il di che è la un per una non sono con del gli della le si anche come più nel",
    "Portuguese": "o os e que de do da em um uma para com não por mais como são na no dos",
    "Dutch": "de het een en van is dat niet te op zijn voor met die ook aan er maar om als",
    "Polish": "i w nie na się jest że do z to jak co po ale czy od przez dla są tego",
    "Turkish": "ve bir bu için ile da de çok olarak daha ne gibi olan en kadar sonra değil ama var mı",
    "Swedish": "och att det som en är på för med av den inte till har ett om de jag kan var",
    "Indonesian": "yang dan di untuk dengan ini itu dari dalam adalah pada tidak ke akan atau juga saya oleh bisa kami",
    "Vietnamese": "và là của có không cho một được trong với các người này những để khi đã như tôi từ",
}
_COMMON = {language: frozenset(words.split()) for language, words in _WORDS.items()}
_LETTERS = re.compile(r"[^\W\d_]+")
_LOOKED_AT = 1500
_LEAST = 20


def language_of(text: str) -> str:
    """Such as `English`; `other` where it cannot be told, `short` where there is too little of it."""
    start = text[:_LOOKED_AT].lower()
    every = _LETTERS.findall(start)
    letters = sum(map(len, every))
    words = [word for word in every if len(word) > 1]  # single letters are variables as often as words
    if not letters:
        return "short"
    for language, script in _SCRIPTS:
        if len(script.findall(start)) * (20 if language == "Ukrainian" else 5) > letters:
            return language
    if letters < _LEAST:
        return "short"
    known = Counter({language: sum(word in common for word in words) for language, common in _COMMON.items()})
    (best, most), (_, second) = known.most_common(2)
    return best if most >= 2 and most > second and most * 12 >= len(words) else "other"
