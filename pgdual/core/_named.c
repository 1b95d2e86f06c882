/* named.py in C: a tuple whose [] takes the names in `_index` as well. Others go to `__missing__`, as in a dict.
 *
 * Only what the stable ABI of Python 3.11 has is used, so that one build serves that version and all later
 * ones. The subscript stands in the type's slot, which classes made in Python inherit: row["email"] then
 * enters no Python frame.
 */

#define Py_LIMITED_API 0x030B0000
#include <Python.h>

static PyObject *index_name, *missing_name;
static binaryfunc tuple_subscript;
static traverseproc tuple_traverse;

static PyObject *
named_subscript(PyObject *self, PyObject *key)
{
    if (!PyUnicode_Check(key)) {
        return tuple_subscript(self, key);
    }
    PyObject *index = PyObject_GetAttr((PyObject *)Py_TYPE(self), index_name);
    if (index == NULL) {
        return NULL;
    }
    PyObject *value = NULL;
    PyObject *position = PyDict_GetItemWithError(index, key);  /* borrowed; no code runs while it is used */
    if (position != NULL) {
        value = tuple_subscript(self, position);
    }
    else if (!PyErr_Occurred()) {
        value = PyObject_CallMethodObjArgs(self, missing_name, key, NULL);
    }
    Py_DECREF(index);
    return value;
}

/* An instance holds its class. For one made in Python the interpreter leaves it to its base in C to say so. */
static int
named_traverse(PyObject *self, visitproc visit, void *arg)
{
    Py_VISIT(Py_TYPE(self));
    return tuple_traverse(self, visit, arg);
}

static PyType_Slot named_slots[] = {
    {Py_tp_doc, "A tuple whose [] takes the names in `_index` as well; others go to `__missing__`, as in a dict."},
    {Py_mp_subscript, named_subscript},
    {Py_tp_traverse, named_traverse},
    {0, NULL},
};

static PyType_Spec named_spec = {
    .name = "pgdual.core._named.Named",
    .flags = Py_TPFLAGS_DEFAULT | Py_TPFLAGS_BASETYPE | Py_TPFLAGS_HAVE_GC,
    .slots = named_slots,
};

static int
fill(PyObject *module)
{
    tuple_subscript = (binaryfunc)PyType_GetSlot(&PyTuple_Type, Py_mp_subscript);
    tuple_traverse = (traverseproc)PyType_GetSlot(&PyTuple_Type, Py_tp_traverse);
    index_name = PyUnicode_InternFromString("_index");
    missing_name = PyUnicode_InternFromString("__missing__");
    if (index_name == NULL || missing_name == NULL) {
        return -1;
    }
    PyObject *named = PyType_FromModuleAndSpec(module, &named_spec, (PyObject *)&PyTuple_Type);
    int done = named == NULL ? -1 : PyModule_AddObjectRef(module, "Named", named);
    Py_XDECREF(named);
    return done;
}

static PyModuleDef_Slot module_slots[] = {{Py_mod_exec, fill}, {0, NULL}};

static PyModuleDef module = {PyModuleDef_HEAD_INIT, .m_name = "_named", .m_slots = module_slots};

PyMODINIT_FUNC
PyInit__named(void)
{
    return PyModuleDef_Init(&module);
}
