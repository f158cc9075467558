"""Everything that imports ray: the cluster, labelling through Ray Data, training through Ray Train.

No mathematics here; heavy libraries are imported in the functions that run on workers.
"""
