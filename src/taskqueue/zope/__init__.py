"""The Zope door: ``%import taskqueue`` in zope.conf, and ``<include package="taskqueue"/>`` in ZCML.

Nothing is imported here: ZConfig reads ``sections`` before anything of Zope is there, and the command line reads
``reading`` where no Zope runs.

===============  ===============================================================================================
``sections``     the sections of zope.conf, and what they were understood as
``reading``      a zope.conf read for them alone, without Zope
``site``         this process: one installation, its gate, when it starts, and what is refused
``publishing``   what a task's request needs of the publisher: layer, acknowledgement, clean threads
``requests``     what ``add`` knows of the current request
``identity``     as whom a request runs: recorded, and compared before a task's view runs
``pas``          the plugin that lets a task in as its user on record
``hosting``      virtual hosts: the URL that leads to a physical path
``databases``    whether transactions committed; whether there are connections enough
``utilities``    queues as utilities, their names as a vocabulary
``testing``      layers for plone.testing
===============  ===============================================================================================
"""
