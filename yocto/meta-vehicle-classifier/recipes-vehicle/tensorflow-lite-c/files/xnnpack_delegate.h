// The part of the XNNPACK delegate's interface that the crate tflitec uses.
#pragma once
#include <stdbool.h>
#include <stdint.h>
#include "tensorflow/lite/core/c/common.h"

#define TFLITE_XNNPACK_DELEGATE_FLAG_QS8 0x00000001
#define TFLITE_XNNPACK_DELEGATE_FLAG_QU8 0x00000002

struct TfLiteXNNPackDelegateWeightsCache;

// Mind the size. The library returns this by value: the caller makes room for what is declared here, the library fills in
// what it was compiled with, 32 bytes in 2.17. A declaration that is smaller (older TensorFlow, the bindings that tflitec
// carries for docs.rs) lets it write over the caller's stack. One that is larger does no harm, so `reserved` leaves room
// for libraries to come.
typedef struct {
  int32_t num_threads;
  uint32_t flags;
  struct TfLiteXNNPackDelegateWeightsCache* weights_cache;
  bool handle_variable_ops;
  const char* weight_cache_file_path;
  uint64_t reserved[8];
} TfLiteXNNPackDelegateOptions;

TfLiteXNNPackDelegateOptions TfLiteXNNPackDelegateOptionsDefault(void);
TfLiteDelegate* TfLiteXNNPackDelegateCreate(const TfLiteXNNPackDelegateOptions* options);
void TfLiteXNNPackDelegateDelete(TfLiteDelegate* delegate);
