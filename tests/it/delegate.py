"""Prints how many nodes of a model are left to execute once the XNNPACK delegate has taken its share.

A second delegate, which takes nothing, is asked to prepare after XNNPACK and looks at the execution plan: one node is one
delegated partition that holds the whole graph. Arguments: libtensorflowlite_c.so, the model. Only TensorFlow Lite's C
interface is used (c_api.h, c_api_opaque.h), which `tflitec` does not offer.
"""
import ctypes
import sys

tflite = ctypes.CDLL(sys.argv[1])
PREPARE = ctypes.CFUNCTYPE(ctypes.c_int, ctypes.c_void_p, ctypes.c_void_p, ctypes.c_void_p)


class IntArray(ctypes.Structure):
    """TfLiteIntArray; its elements follow."""

    _fields_ = [("size", ctypes.c_int)]


class DelegateBuilder(ctypes.Structure):
    """TfLiteOpaqueDelegateBuilder."""

    _fields_ = [
        ("data", ctypes.c_void_p),
        ("prepare", PREPARE),
        ("copy_from", ctypes.c_void_p),
        ("copy_to", ctypes.c_void_p),
        ("free", ctypes.c_void_p),
        ("flags", ctypes.c_int64),
    ]


class XnnpackOptions(ctypes.Structure):
    """TfLiteXNNPackDelegateOptions, with room for what newer libraries add."""

    _fields_ = [("threads", ctypes.c_int32), ("flags", ctypes.c_uint32), ("rest", ctypes.c_uint64 * 12)]


def function(name, result=ctypes.c_void_p, arguments=None):
    found = getattr(tflite, name)
    found.restype = result
    found.argtypes = [ctypes.c_void_p] if arguments is None else arguments
    return found


plans = []


def look(context, _delegate, _data):
    plan = ctypes.POINTER(IntArray)()
    get = function("TfLiteOpaqueContextGetExecutionPlan", ctypes.c_int, [ctypes.c_void_p, ctypes.c_void_p])
    if get(context, ctypes.byref(plan)) == 0:
        plans.append(plan.contents.size)
    return 0


builder = DelegateBuilder(prepare=PREPARE(look), flags=0)
probe = function("TfLiteOpaqueDelegateCreate")(ctypes.byref(builder))
xnnpack_options = function("TfLiteXNNPackDelegateOptionsDefault", XnnpackOptions, [])()
xnnpack = function("TfLiteXNNPackDelegateCreate")(ctypes.byref(xnnpack_options))
model = function("TfLiteModelCreateFromFile", arguments=[ctypes.c_char_p])(sys.argv[2].encode())
options = function("TfLiteInterpreterOptionsCreate", arguments=[])()
add = function("TfLiteInterpreterOptionsAddDelegate", None, [ctypes.c_void_p, ctypes.c_void_p])
for delegate in ([probe], [xnnpack, probe])[len(sys.argv) < 4]:
    add(options, delegate)
interpreter = function("TfLiteInterpreterCreate", arguments=[ctypes.c_void_p, ctypes.c_void_p])(model, options)
if not interpreter or not plans:
    sys.exit("the interpreter was not built")
print(plans[-1])
