"""The coordinate check: do updates keep their size as width grows?"""
