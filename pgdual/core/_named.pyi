from .named import Named as Named
