"""The node types in the box: audio, text, voice, video, and those that handle any type.

The registry finds them through the generated `graph/catalog.json`, which says which module holds a type; importing this
package imports none of them. They use only what every node author can use: `ringline`'s public names. A library that is
not in the `multiprocess` extra is imported in `initialize`, so that a graph can be checked and documented without it.
"""
