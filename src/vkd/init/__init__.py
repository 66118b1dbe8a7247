"""``vkd init``: a recipe for a folder of pictures, a teacher and a student."""
