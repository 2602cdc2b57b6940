// The kernels' arithmetic on the CPU, pixel after pixel, reading and staging as a block of the GPU would.
#include <vector>

#include "frame_math.cuh"

struct HostPixels {
    const std::vector<Rgb>& pixels;
    int first_row, first_column, height, width;
    Rgb operator()(int row, int column) const {
        const int y = row - first_row, x = column - first_column;
        if (y < 0 || x < 0 || y >= height || x >= width) return Rgb{-100000, -100000, -100000};
        return pixels[y * width + x];
    }
};

struct HostScores {
    const std::vector<float>& scores;
    int first_row, first_column, rows, columns, classes;
    float operator()(int k, int row, int column) const {
        const int y = row - first_row, x = column - first_column;
        if (y < 0 || x < 0 || y >= rows || x >= columns) return NAN;
        return scores[(y * columns + x) * classes + k];
    }
};

static int smaller(int a, int b) { return a < b ? a : b; }

extern "C" {

int size_of_camera_job() { return sizeof(CameraJob); }
int size_of_label_job() { return sizeof(LabelJob); }

void camera_to_network(const CameraJob* job, int block_rows, int block_columns) {
    if (job->not_finite) *job->not_finite = 0;
    for (int y = 0; y < job->out_height; y += block_rows) {
        for (int x = 0; x < job->out_width; x += block_columns) {
            const int first_row = job->first_row[y], first_column = job->first_column[x];
            std::vector<Rgb> pixels(job->stage_height * job->stage_width);
            for (int i = 0; i < static_cast<int>(pixels.size()); ++i) {
                const int row = first_row + i / job->stage_width, column = first_column + i % job->stage_width;
                if (row < job->camera.height && column < job->camera.width)
                    pixels[i] = camera_pixel(job->camera, row, column);
            }
            const HostPixels staged = {pixels, first_row, first_column, job->stage_height, job->stage_width};
            const CameraPixels direct = {job->camera};
            for (int row = y; row < smaller(y + block_rows, job->out_height); ++row) {
                for (int column = x; column < smaller(x + block_columns, job->out_width); ++column) {
                    if (job->stage_height)
                        network_pixel(*job, staged, row, column);
                    else
                        network_pixel(*job, direct, row, column);
                }
            }
        }
    }
}

void logits_to_outputs(const LabelJob* job, int block_rows, int block_columns) {
    const int height = job->camera.height, width = job->camera.width, samples = job->stage_rows * job->stage_columns;
    const int threads = (height + block_rows - 1) / block_rows * block_rows * ((width + block_columns - 1) / block_columns * block_columns);
    for (int thread = 0; thread < threads; ++thread) check_scores(*job, thread, threads);
    for (int y = 0; y < height; y += block_rows) {
        for (int x = 0; x < width; x += block_columns) {
            const int first_row = job->low_row[y], first_column = job->low_column[x];
            std::vector<float> scores(samples * job->classes, NAN);
            for (int sample = 0; sample < samples; ++sample) {
                const int row = first_row + sample / job->stage_columns, column = first_column + sample % job->stage_columns;
                for (int k = 0; k < job->classes; ++k) {
                    if (row < job->stride_height && column < job->stride_width)
                        scores[sample * job->classes + k] = score_at(*job, k, row, column);
                }
            }
            const HostScores staged = {scores, first_row, first_column, job->stage_rows, job->stage_columns, job->classes};
            const StrideScores direct = {*job};
            for (int row = y; row < smaller(y + block_rows, height); ++row) {
                for (int column = x; column < smaller(x + block_columns, width); ++column) {
                    if (job->stage_rows)
                        output_pixel(*job, staged, row, column);
                    else
                        output_pixel(*job, direct, row, column);
                }
            }
        }
    }
}

void convert_halves(const float* values, Half* halves, float* back, int count) {
    for (int i = 0; i < count; ++i) {
        halves[i] = half_from_float(values[i]);
        back[i] = float_from_half(halves[i]);
    }
}
}
