"""What an agent may do: the tool contract, who asks, where, and under which labels.

The lowest layer. It imports nothing else of this project.
"""
