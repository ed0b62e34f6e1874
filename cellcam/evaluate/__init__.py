"""Is the explanation any good?"""
