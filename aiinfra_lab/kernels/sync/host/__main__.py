"""`python3 -m NAME FOLDER`: serve a folder by standard input and output."""

from .serving import main

main()
