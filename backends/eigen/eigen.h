// Eigen for one instruction set. Eigen picks its vectors when it is compiled, and everything in it is an inline template
// in `namespace Eigen`: files with different flags would define the same functions, and the linker would keep one of them,
// perhaps the AVX-512 one, for all. So the namespace has another name in every file: Eigen_for::base, Eigen_for::avx2,
// Eigen_for::avx512 (Eigen 3.4 names its namespace by plain tokens only, and C++17 allows `namespace A::B {`).
// tests/rules/rules.py looks for shared functions in the objects. This header comes last among a file's includes.
#pragma once
#include "core/half.h"  // KERF_ISA

#define EIGEN_DONT_PARALLELIZE  // the work is shared by kerf's pool; -t means the same for every backend
#define EIGEN_NO_IO
#define Eigen Eigen_for::KERF_ISA
#include <Eigen/Core>
