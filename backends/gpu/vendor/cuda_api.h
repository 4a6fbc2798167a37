// The calls of the CUDA runtime that backends/gpu/gpu_device.cpp makes. Source: CUDA Runtime API 13.0.
#pragma once
#include <cuda_runtime_api.h>

#include <string>

#define KERF_GPU_API_NS cuda
#define KERF_GPU_API_DEVICES cuda_devices

namespace kerf::cuda {

inline constexpr const char* kKind = "cuda";
inline constexpr const char* kSyntax = "cuda:N[=SIZE]";
using Status = cudaError_t;
using RawStream = cudaStream_t;
using Event = cudaEvent_t;
using Graph = cudaGraph_t;
using Executable = cudaGraphExec_t;
inline constexpr Status kSuccess = cudaSuccess;

inline std::string text_of(Status s) { return std::string(cudaGetErrorName(s)) + ": " + cudaGetErrorString(s); }
inline Status count_devices(int* n) { return cudaGetDeviceCount(n); }
inline Status use_device(int n) { return cudaSetDevice(n); }
inline Status memory(size_t* free, size_t* total) { return cudaMemGetInfo(free, total); }
inline Status name_of_device(int n, std::string& name) {
  cudaDeviceProp p{};
  const Status s = cudaGetDeviceProperties(&p, n);
  name = std::string(p.name) + ", sm_" + std::to_string(p.major) + std::to_string(p.minor);
  return s;
}
inline Status allocate(void** p, size_t bytes) { return cudaMalloc(p, bytes); }
inline Status release(void* p) { return cudaFree(p); }
inline Status allocate_pinned(void** p, size_t bytes) { return cudaHostAlloc(p, bytes, cudaHostAllocDefault); }
inline Status release_pinned(void* p) { return cudaFreeHost(p); }
inline Status copy_to_device(void* to, const void* from, size_t bytes, RawStream s) {
  return cudaMemcpyAsync(to, from, bytes, cudaMemcpyHostToDevice, s);
}
inline Status copy_to_host(void* to, const void* from, size_t bytes, RawStream s) {
  return cudaMemcpyAsync(to, from, bytes, cudaMemcpyDeviceToHost, s);
}
inline Status create_stream(RawStream* s) { return cudaStreamCreateWithFlags(s, cudaStreamNonBlocking); }
inline Status destroy_stream(RawStream s) { return cudaStreamDestroy(s); }
inline Status wait_for_stream(RawStream s) { return cudaStreamSynchronize(s); }
inline Status create_event(Event* e) { return cudaEventCreateWithFlags(e, cudaEventDisableTiming); }
inline Status destroy_event(Event e) { return cudaEventDestroy(e); }
inline Status record_event(Event e, RawStream s) { return cudaEventRecord(e, s); }
inline Status wait_for_event(Event e) { return cudaEventSynchronize(e); }
inline Status launch_kernel(const void* kernel, unsigned x, unsigned y, unsigned z, unsigned threads, void** arguments, size_t shared, RawStream s) {
  return cudaLaunchKernel(kernel, dim3(x, y, z), dim3(threads, 1, 1), arguments, shared, s);
}
inline Status begin_capture(RawStream s) { return cudaStreamBeginCapture(s, cudaStreamCaptureModeThreadLocal); }
inline Status end_capture(RawStream s, Graph* g) { return cudaStreamEndCapture(s, g); }
inline Status make_executable(Executable* e, Graph g) { return cudaGraphInstantiate(e, g, 0); }
inline Status destroy_graph(Graph g) { return cudaGraphDestroy(g); }
inline Status destroy_executable(Executable e) { return cudaGraphExecDestroy(e); }
inline Status launch_graph(Executable e, RawStream s) { return cudaGraphLaunch(e, s); }

}  // namespace kerf::cuda
