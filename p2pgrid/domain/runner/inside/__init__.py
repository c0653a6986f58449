"""What runs within the confinement: the zygote, which holds no data, and the workers forked from it."""
