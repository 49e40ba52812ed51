module chartrenderer

go 1.19
