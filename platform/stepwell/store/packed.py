"""Texts packed for the disk: the data of journal entries, which say the same words over and over.

Raw deflate with a dictionary that holds the words beforehand. An approval's 223 bytes of JSON become 52 in 7 µs, and
text again in 1.4: a waiting run takes half the space, and a commit writes less. Rejected: another serialisation (every
reader would have to know it, and it saves less), compressing pages (SQLite has no such thing).

A packed text begins with the number of its dictionary. A dictionary is never changed, since disks are full of what it
packed: a better one gets the next number.
"""

import zlib

_WORDS_1 = (
    '{"kind":"timer","name":"","fingerprint":"","options":{},"base":[],"due":null,"where":"","held":false}'
    '{"ok":false,"error":{"type":"StepFailed","message":"","traceback":"Traceback (most recent call last):\\n  File '
    '\\".stepwell/pipeline.py\\", line "},"seconds":{"reason":"the server stopped"}{"runner":"local"}'
    '{"by":"admin","approve":true,"comment":"","fields":{},"at":17}{"type":"","payload":null,"id":null}'
    '{"tenant":"","scope":"","title":"","metadata":{"tenant":"","repository":"","name":"","commit":"","tree":"",'
    '"stepwell_tree":"","message":"","kind":"push","branch":"main","tag":"","actor":"","author":"","pipeline":"",'
    '"entry":"pipeline.py:","group":""},"code":"","entry":"pipeline.py:","params":{"kind":"manual","payload":null,'
    '"sha":"","before":"","branch":"main","tag":"","actor":"","message":"","inputs":{},"changed":[]},"replay":1,'
    '"python":"3.11.","number":{"state":"passed","result":null}{"kind":"event","options":{"type":"","timeout":86400.0}'
    '{"kind":"sleep","options":{"seconds":{"kind":"read","options":{"path":"{"ok":true,"value":{"exit_code":0,'
    '"seconds":0.,"outputs":{}},"seconds":0.,"layer":"","exit_code":0,"inline":{"kind":"do","name":"","fingerprint":"'
    '{"kind":"run","name":"","fingerprint":"","options":{"command":"","environment":"production","secrets":[],'
    '"tools":[],"image":"","timeout":1200.0,"retries":{"max":{"kind":"approval","name":"","fingerprint":"","options":'
    '{"message":"","environment":"production","timeout":604800.0},"base":[],"due":null,"where":".stepwell/pipeline.py:'
)
# What comes most often stands last, as it is written: near words cost fewer bits, and many in a row no more than one.
_WORDS_2 = (
    '{"runner":"local"}{"reason":"the server stopped"}{"by":"admin","approve":true,"comment":"","fields":{},"at":17}'
    '{"type":"","payload":null,"id":null}{"kind":"timer","name":"~{"state":"passed","result":null}'
    '{"ok":false,"error":{"type":"StepFailed","message":"","traceback":"Traceback (most recent call last):\\n  File '
    '\\".stepwell/pipeline.py\\", line "},"seconds":{"kind":"read","options":{"path":"'
    ',"parent":{"run":"","number":,"key":"","root":"","depth":1,"waits":true},"order":{"group":{"name":"","policy":'
    '"cancel"},"held":true{"ok":true,"value":{"exit_code":0,"seconds":0.,"outputs":{}},"seconds":0.,"layer":"",'
    '"exit_code":0,"inline":{"kind":"do","name":"","fingerprint":"{"kind":"run","name":"","fingerprint":"","options":'
    '{"command":"","image":"","environment":"production","secrets":[],"tools":[""],"timeout":1200.0,"retries":{"max":0}},'
    '"base":[],"due":null,"where":".stepwell/pipeline.py:","held":false}{"kind":"call","options":{"entry":"pipeline.py:",'
    '"event":{"inputs":{"{"tenant":"","scope":"","title":"","metadata":{"commit":"","tree":"","stepwell_tree":"",'
    '"message":"","kind":"push","branch":"main","tag":"","actor":"","author":"","pipeline":"","entry":"pipeline.py:",'
    '"tenant":"","repository":"","name":""},"code":"","entry":"pipeline.py:","params":{"kind":"push","sha":"","before":"",'
    '"branch":"main","tag":"","actor":"","message":"","number":,"inputs":{},"payload":null,"changed":[]},"replay":2,'
    '"python":"3.1{"kind":"event","name":"","fingerprint":"","options":{"type":"","timeout":86400.0},"base":[],"due":'
    '{"kind":"sleep","name":"","fingerprint":"","options":{"seconds":86400.0},"base":[],"due":'
    '{"tenant":"","scope":"","title":"","metadata":{"name":"","code":"","entry":"","params":{"kind":"manual"},"replay":2,'
    '"python":"3.11.","number":{"kind":"approval","name":"","fingerprint":"","options":{"message":"","environment":'
    '"production","timeout":604800.0},"base":[],"due":17,"where":".stepwell/pipeline.py:'
)
_DICTIONARIES = {1: _WORDS_1.encode(), 2: _WORDS_2.encode()}
_WRITTEN = 2
_SHORT = 144
"""Texts up to so many characters stay as they are: of small results of `step.do` there may be thousands to be written
and read at once. Packing one takes 7 µs, unpacking 2."""
_LARGE = 65_536
"""Texts from this size on are packed less hard: the engine waits meanwhile."""

_MARK = bytes([_WRITTEN])
_HARD = zlib.compressobj(6, zlib.DEFLATED, -12, 6, zlib.Z_DEFAULT_STRATEGY, _DICTIONARIES[_WRITTEN])
_QUICK = zlib.compressobj(1, zlib.DEFLATED, -15, 8, zlib.Z_DEFAULT_STRATEGY, _DICTIONARIES[_WRITTEN])
_READERS = {number: zlib.decompressobj(-15, words) for number, words in _DICTIONARIES.items()}


def pack(text: str) -> str | bytes:
    """Pack a text, or give it back when that would not make it shorter."""
    if len(text) <= _SHORT:
        return text
    data = text.encode()
    packer = (_HARD if len(data) < _LARGE else _QUICK).copy()  # a copy costs less than half of a new one
    packed = _MARK + packer.compress(data) + packer.flush()
    return packed if len(packed) < len(data) else text


def unpack(kept: str | bytes) -> str:
    """Give the text again. Raises ValueError for bytes that are none of ours."""
    if isinstance(kept, str):
        return kept
    try:
        reader = _READERS[kept[0]].copy()
        text = reader.decompress(kept[1:]).decode()
    except (zlib.error, KeyError, IndexError, TypeError) as error:
        raise ValueError(f"it is packed in a way that is not known here ({error})") from error
    if not reader.eof:
        raise ValueError("its end is missing")
    return text
