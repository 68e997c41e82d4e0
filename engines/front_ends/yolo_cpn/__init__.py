"""The ``yolo_cpn`` front end: a YOLO detector finds the person, a CPN finds the joints."""
