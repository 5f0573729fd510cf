// Row-major matrix products on raw memory, by the BLAS inside libtorch_cpu (it exports the standard
// Fortran interface). For products of tiles inside a parallel loop, where an operator call with its
// tensors costs as much as a small product.
#pragma once

#include <cstdint>

extern "C" {
// NOLINTBEGIN: the names are BLAS's
void sgemm_(const char* transa, const char* transb, const int* m, const int* n, const int* k,
            const float* alpha, const float* a, const int* lda, const float* b, const int* ldb,
            const float* beta, float* c, const int* ldc);
void dgemm_(const char* transa, const char* transb, const int* m, const int* n, const int* k,
            const double* alpha, const double* a, const int* lda, const double* b, const int* ldb,
            const double* beta, double* c, const int* ldc);
// NOLINTEND
}

namespace oasis {

// A matrix in row-major memory: element (i, j) at data[i·stride + j], or (j, i) when transposed.
template <class T>
struct Matrix {
  T* data;
  std::int64_t stride;
  bool transposed = false;

  Matrix t() const { return {data, stride, !transposed}; }
};

// c = alpha·a·b + beta·c with a [m,k], b [k,n], c [m,n] not transposed.
template <class T>
void gemm(int m, int n, int k, T alpha, Matrix<const T> a, Matrix<const T> b, T beta, Matrix<T> c) {
  // BLAS is column-major: it sees every matrix transposed, so it is asked for cᵀ = bᵀ·aᵀ.
  const char op_a = a.transposed ? 'T' : 'N';
  const char op_b = b.transposed ? 'T' : 'N';
  const auto lda = static_cast<int>(a.stride);
  const auto ldb = static_cast<int>(b.stride);
  const auto ldc = static_cast<int>(c.stride);
  if constexpr (sizeof(T) == sizeof(float)) {
    sgemm_(&op_b, &op_a, &n, &m, &k, &alpha, b.data, &ldb, a.data, &lda, &beta, c.data, &ldc);
  } else {
    dgemm_(&op_b, &op_a, &n, &m, &k, &alpha, b.data, &ldb, a.data, &lda, &beta, c.data, &ldc);
  }
}

}  // namespace oasis
