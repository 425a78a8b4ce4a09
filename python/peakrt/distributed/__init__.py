"""A run shared out to workers: other processes of this machine, the ranks of an MPI job, or actors of a Ray cluster.

Workers get ranges of event numbers, open the source themselves, and give back tables of peaks; frames do not travel. One
process takes the tables in the order of the events, reads the hits once more, and writes them: it alone writes.
"""
