"""Studies: ablations and comparisons of many runs; each is a table of cells by seeds, made by one command.

`study` defines a study, `running` runs one, `one_run` is the process of one of its runs, `summary` makes its table.
There is one file per family of studies: `vd`, `vkd`, `idkl` for one method each, `side_by_side` for whole recipes,
`estimators` for mutual information, which trains critics, not runs.
"""
