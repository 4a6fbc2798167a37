#include "backends/onednn/library.h"

#include "core/error.h"

// Declared here instead of including omp.h: the header belongs to the compiler, these two to libgomp, which oneDNN is
// linked with (OpenMP 4.5, 3.2.1 and 3.2.3).
extern "C" {
void omp_set_num_threads(int);
int omp_get_max_threads(void);
}

namespace kerf::onednn {
namespace {

bool has(dnnl::cpu_isa isa, dnnl::cpu_isa part) { return (static_cast<int>(isa) & static_cast<int>(part)) == static_cast<int>(part); }

}  // namespace

void cap_isa() {
  dnnl_set_max_cpu_isa(dnnl_cpu_isa_avx512_core_bf16);  // refused from the second call on
  if (has(dnnl::get_effective_cpu_isa(), dnnl::cpu_isa::avx512_core_amx))
    throw Error(ErrorKind::runtime, "oneDNN was used before kerf could keep it from AMX", "backend onednn", "create kerf's registry first");
}

Isa isa_in_use() {
  const dnnl::cpu_isa isa = dnnl::get_effective_cpu_isa();
  if (has(isa, dnnl::cpu_isa::avx512_core_vnni)) return Isa::vnni;
  if (has(isa, dnnl::cpu_isa::avx512_core)) return Isa::avx512;
  return has(isa, dnnl::cpu_isa::avx2) ? Isa::avx2 : Isa::base;
}

OneThread::OneThread() : before_(omp_get_max_threads()) { omp_set_num_threads(1); }
OneThread::~OneThread() { omp_set_num_threads(before_); }

}  // namespace kerf::onednn
