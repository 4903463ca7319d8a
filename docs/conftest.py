"""Has pytest run the code blocks of the documents in this folder."""

from doc_blocks import parse, set_up, tear_down
from sybil import Sybil

pytest_collect_file = Sybil([parse], pattern="*.rst", excludes=["_build/*"], setup=set_up, teardown=tear_down).pytest()
