// The calls of the HIP runtime that backends/gpu/gpu_device.cpp makes. Source: HIP Programming Guide 5.2.
#pragma once
#include <hip/hip_runtime_api.h>

#include <string>

#define KERF_GPU_API_NS hip
#define KERF_GPU_API_DEVICES hip_devices

namespace kerf::hip {

inline constexpr const char* kKind = "hip";
inline constexpr const char* kSyntax = "hip:N[=SIZE]";
using Status = hipError_t;
using RawStream = hipStream_t;
using Event = hipEvent_t;
using Graph = hipGraph_t;
using Executable = hipGraphExec_t;
inline constexpr Status kSuccess = hipSuccess;

inline std::string text_of(Status s) { return std::string(hipGetErrorName(s)) + ": " + hipGetErrorString(s); }
inline Status count_devices(int* n) { return hipGetDeviceCount(n); }
inline Status use_device(int n) { return hipSetDevice(n); }
inline Status memory(size_t* free, size_t* total) { return hipMemGetInfo(free, total); }
inline Status name_of_device(int n, std::string& name) {
  hipDeviceProp_t p{};
  const Status s = hipGetDeviceProperties(&p, n);
  name = std::string(p.name) + ", " + p.gcnArchName;
  return s;
}
inline Status allocate(void** p, size_t bytes) { return hipMalloc(p, bytes); }
inline Status release(void* p) { return hipFree(p); }
inline Status allocate_pinned(void** p, size_t bytes) { return hipHostMalloc(p, bytes, hipHostMallocDefault); }
inline Status release_pinned(void* p) { return hipHostFree(p); }
inline Status copy_to_device(void* to, const void* from, size_t bytes, RawStream s) {
  return hipMemcpyAsync(to, from, bytes, hipMemcpyHostToDevice, s);
}
inline Status copy_to_host(void* to, const void* from, size_t bytes, RawStream s) {
  return hipMemcpyAsync(to, from, bytes, hipMemcpyDeviceToHost, s);
}
inline Status create_stream(RawStream* s) { return hipStreamCreateWithFlags(s, hipStreamNonBlocking); }
inline Status destroy_stream(RawStream s) { return hipStreamDestroy(s); }
inline Status wait_for_stream(RawStream s) { return hipStreamSynchronize(s); }
inline Status create_event(Event* e) { return hipEventCreateWithFlags(e, hipEventDisableTiming); }
inline Status destroy_event(Event e) { return hipEventDestroy(e); }
inline Status record_event(Event e, RawStream s) { return hipEventRecord(e, s); }
inline Status wait_for_event(Event e) { return hipEventSynchronize(e); }
inline Status launch_kernel(const void* kernel, unsigned x, unsigned y, unsigned z, unsigned threads, void** arguments, size_t shared, RawStream s) {
  return hipLaunchKernel(kernel, dim3(x, y, z), dim3(threads, 1, 1), arguments, shared, s);
}
inline Status begin_capture(RawStream s) { return hipStreamBeginCapture(s, hipStreamCaptureModeThreadLocal); }
inline Status end_capture(RawStream s, Graph* g) { return hipStreamEndCapture(s, g); }
inline Status make_executable(Executable* e, Graph g) { return hipGraphInstantiate(e, g, nullptr, nullptr, 0); }
inline Status destroy_graph(Graph g) { return hipGraphDestroy(g); }
inline Status destroy_executable(Executable e) { return hipGraphExecDestroy(e); }
inline Status launch_graph(Executable e, RawStream s) { return hipGraphLaunch(e, s); }

}  // namespace kerf::hip
