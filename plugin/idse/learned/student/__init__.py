"""Students: small networks that predict in one forward pass what sketches of large ones say.

`network` and `export` are what is trained and the file that comes of it, `teacher` and `pictures`
what it is trained on, `train` how. All of these need torch; using a student does not.
"""
