"""Kernels in C for the networks that most agents have, compiled once on the user's machine.

A perceptron of 64 units is so small that on a CPU most of its time goes to calling operations, and
agents of different width or activation would each be called alone. The kernels compute every agent
at its own width in one call, at about the speed of the products alone. Where there is no C
compiler, and on other devices, the same passes are made of torch's operations.
"""
