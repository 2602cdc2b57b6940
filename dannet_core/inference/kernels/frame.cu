// The two launches of a frame. Blocks of 32 x 8 pixels; the arithmetic is in frame_math.cuh.
#include "frame_math.cuh"

// Camera pixels of one block, converted once and read by all its output pixels.
struct StagedPixels {
    const unsigned int* pixels;
    int first_row;
    int first_column;
    int width;
    __device__ __forceinline__ Rgb operator()(int row, int column) const {
        const unsigned int packed = pixels[(row - first_row) * width + column - first_column];
        const Rgb rgb = {static_cast<int>(packed & 255u), static_cast<int>((packed >> 8) & 255u),
                         static_cast<int>(packed >> 16)};
        return rgb;
    }
};

// Scores of one block's stride samples, re-weighted once and read by all its camera pixels; class last, so that
// neighbouring samples lie in different banks.
struct StagedScores {
    const float* scores;
    int first_row;
    int first_column;
    int columns;
    int classes;
    __device__ __forceinline__ float operator()(int k, int row, int column) const {
        return scores[((row - first_row) * columns + column - first_column) * classes + k];
    }
};

extern __shared__ unsigned int staged[];

// Camera bytes to 1 x 3 x h x w. Grid: one thread an output pixel; shared memory: 4 bytes a staged pixel.
extern "C" __global__ void __launch_bounds__(256) camera_to_network(const CameraJob job) {
    const int column = blockIdx.x * blockDim.x + threadIdx.x, row = blockIdx.y * blockDim.y + threadIdx.y;
    const bool inside = row < job.out_height && column < job.out_width;
    if (job.not_finite && row == 0 && column == 0) *job.not_finite = 0;
    if (job.stage_height == 0) {
        const CameraPixels pixels = {job.camera};
        if (inside) network_pixel(job, pixels, row, column);
        return;
    }
    const int first_row = job.first_row[blockIdx.y * blockDim.y];
    const int first_column = job.first_column[blockIdx.x * blockDim.x];
    const int threads = blockDim.x * blockDim.y;
    for (int i = threadIdx.y * blockDim.x + threadIdx.x; i < job.stage_height * job.stage_width; i += threads) {
        const int camera_row = first_row + i / job.stage_width, camera_column = first_column + i % job.stage_width;
        if (camera_row < job.camera.height && camera_column < job.camera.width) {
            const Rgb rgb = camera_pixel(job.camera, camera_row, camera_column);
            staged[i] = static_cast<unsigned int>(rgb.r | rgb.g << 8 | rgb.b << 16);
        }
    }
    __syncthreads();
    const StagedPixels pixels = {staged, first_row, first_column, job.stage_width};
    if (inside) network_pixel(job, pixels, row, column);
}

// Stride logits to every wanted output. Grid: one thread a camera pixel; shared memory: 4 bytes a class and sample.
extern "C" __global__ void __launch_bounds__(256) logits_to_outputs(const LabelJob job) {
    const int column = blockIdx.x * blockDim.x + threadIdx.x, row = blockIdx.y * blockDim.y + threadIdx.y;
    const bool inside = row < job.camera.height && column < job.camera.width;
    check_scores(job, row * gridDim.x * blockDim.x + column, gridDim.x * blockDim.x * gridDim.y * blockDim.y);
    if (job.stage_rows == 0) {
        const StrideScores scores = {job};
        if (inside) output_pixel(job, scores, row, column);
        return;
    }
    float* stage = reinterpret_cast<float*>(staged);
    const int first_row = job.low_row[blockIdx.y * blockDim.y];
    const int first_column = job.low_column[blockIdx.x * blockDim.x];
    const int samples = job.stage_rows * job.stage_columns, threads = blockDim.x * blockDim.y;
    // Neighbouring threads take neighbouring samples of one class: that is how the logits lie in memory.
    for (int i = threadIdx.y * blockDim.x + threadIdx.x; i < samples * job.classes; i += threads) {
        const int k = i / samples, sample = i % samples;
        const int stride_row = first_row + sample / job.stage_columns;
        const int stride_column = first_column + sample % job.stage_columns;
        if (stride_row < job.stride_height && stride_column < job.stride_width) {
            stage[sample * job.classes + k] = score_at(job, k, stride_row, stride_column);
        }
    }
    __syncthreads();
    const StagedScores scores = {stage, first_row, first_column, job.stage_columns, job.classes};
    if (inside) output_pixel(job, scores, row, column);
}
