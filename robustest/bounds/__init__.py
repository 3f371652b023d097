"""Lower bounds of margins that hold for every input in a ball, as pure functions of a network's graph."""

# Backward linear bounds (Zhang et al., NeurIPS 2018, section 3): a network is a chain of affine maps with one
# nonlinearity between two of them. Each nonlinearity lies between two lines over the interval of its inputs; the line
# that is worse for the margin replaces it, which leaves an affine function of the input, whose least value over a ball
# has a closed form.
