"""Studies: ablations and comparisons of many runs, each a table of cells by seeds with one command.

`study` says what a study is, `running` runs one, `one_run` is the process of one of its runs, `summary` makes its table.
A family of studies a file: `vd`, `vkd`, `idkl` of one method each, `side_by_side` of whole recipes, `estimators` of
mutual information, which trains critics and no runs.
"""
