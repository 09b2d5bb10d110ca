"""Guards: what Python read while a call was recorded, and whether it is still the same.

`hook` sees which code runs; `reach` follows what that code can name; `follow` goes from values to
what is inside of them (`objects`, `contents`, `holders`); `check` makes one function of it, which a
path asks before it runs. `policy` says which code is looked at, and what cannot be guarded;
`bytecode` and `stack` read code objects; `arrays` tells NumPy arrays that only ops were given from
those that Python looked into; `effects` finds the line that changed something; `equals`
looks at arguments that are other objects at each call.
"""
