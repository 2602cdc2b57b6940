// The arithmetic of one pixel: camera bytes to network input, stride logits to labels, confidence, colour, overlay.
//
// The same source compiles for the GPU (nvcc, NVRTC) and for the host (any C++11 compiler), so that it is checked
// against the NumPy paths on machines without a GPU. No library headers but math.h, which NVRTC brings itself.
#ifndef DANNET_FRAME_MATH_CUH
#define DANNET_FRAME_MATH_CUH

#ifdef __CUDACC__
#define FRAME_FN __host__ __device__ __forceinline__
#else
#include <math.h>
#include <string.h>
#define FRAME_FN inline
#endif

typedef unsigned char Byte;
typedef unsigned short Half;  // the bits of an IEEE half

// In the order of dannet_core.inference.camera_image.ENCODINGS, then of DEEP_ENCODINGS.
enum Encoding {
    RGB8, BGR8, RGBA8, BGRA8, MONO8, BAYER_RGGB8, BAYER_BGGR8, BAYER_GBRG8, BAYER_GRBG8, UYVY, YUYV, NV12, NV21, NV24,
    RGB16, BGR16, RGBA16, BGRA16, MONO16, BAYER_RGGB16, BAYER_BGGR16, BAYER_GBRG16, BAYER_GRBG16
};

struct Camera {
    const Byte* data;
    const Byte* table;  // 65536 bytes: what becomes of each sample of two bytes; null where samples have one
    int height;
    int width;
    int step;  // bytes from one row to the next
    int encoding;
};

// Mirrored by dannet_core.inference.kernels.jobs.CameraJob.
struct CameraJob {
    Camera camera;
    void* network;  // 3 x out_height x out_width, float or half
    const int* first_row;
    const float* row_weights;  // out_height x row_taps
    const int* first_column;
    const float* column_weights;  // out_width x column_taps
    int* not_finite;              // cleared here, set by logits_to_outputs; null = nobody asks
    int out_height;
    int out_width;
    int row_taps;
    int column_taps;
    int half_output;
    int round_rows;    // Pillow rounds to bytes between its two passes
    int stage_height;  // camera pixels that a block keeps in shared memory; 0 = it reads them where they are
    int stage_width;
    float scale[3];  // byte * scale + offset = ImageNet-normalised
    float offset[3];
};

// Mirrored by dannet_core.inference.kernels.jobs.LabelJob. An output nobody wants is a null pointer.
struct LabelJob {
    Camera camera;       // only read for the overlay
    const void* logits;  // classes x stride_height x stride_width, float or half
    const float* factor;
    const float* offset;  // logit * factor + offset = score, per class
    const int* low_row;
    const float* row_fraction;
    const int* low_column;
    const float* column_fraction;
    const Byte* colors;      // 256 x 3 RGB
    Byte* labels;            // height x width
    float* confidence;       // height x width, 0..1
    Byte* confidence_bytes;  // height x width, 255 = certain
    Byte* color;             // height x width x 3 RGB
    Byte* overlay;           // height x width x 3 RGB
    int* not_finite;         // becomes 1 where a score is no number
    int classes;
    int stride_height;
    int stride_width;
    int half_logits;
    int stage_rows;  // stride samples that a block keeps in shared memory; 0 = it reads them where they are
    int stage_columns;
    float min_confidence;  // labels below become UNKNOWN; 0 = off
    float alpha;           // opacity of the colours in the overlay
};

struct Rgb {
    int r, g, b;
};

struct PixelResult {
    int label;
    float confidence;
};

const int UNKNOWN = 255;
const float EXP_FLOOR = -80.0f;
const float LARGEST_SCORE = 1e30f;
const float LOWEST = -3.402823466e38f;

FRAME_FN int clamp_int(int value, int low, int high) { return value < low ? low : value > high ? high : value; }

FRAME_FN Half half_from_float(float value) {
#ifdef __CUDA_ARCH__
    Half bits;
    asm("cvt.rn.f16.f32 %0, %1;" : "=h"(bits) : "f"(value));
    return bits;
#else
    unsigned int bits;
    memcpy(&bits, &value, sizeof bits);
    const unsigned int sign = (bits >> 16) & 0x8000u;
    const int exponent = static_cast<int>((bits >> 23) & 0xffu) - 127 + 15;
    unsigned int fraction = bits & 0x7fffffu;
    if (((bits >> 23) & 0xffu) == 0xffu) return static_cast<Half>(sign | 0x7c00u | (fraction ? 0x200u : 0u));
    if (exponent >= 31) return static_cast<Half>(sign | 0x7c00u);
    if (exponent < -10) return static_cast<Half>(sign);
    unsigned int shift = 13;
    unsigned int result = static_cast<unsigned int>(exponent) << 10;
    if (exponent <= 0) {
        fraction |= 0x800000u;
        shift = static_cast<unsigned int>(14 - exponent);
        result = 0;
    }
    result += fraction >> shift;
    // To nearest, ties to even; a carry out of the fraction moves on into the exponent, as it should.
    const unsigned int rest = fraction & ((1u << shift) - 1u), middle = 1u << (shift - 1u);
    if (rest > middle || (rest == middle && (result & 1u))) ++result;
    return static_cast<Half>(sign | result);
#endif
}

FRAME_FN float float_from_half(Half half) {
#ifdef __CUDA_ARCH__
    float value;
    asm("cvt.f32.f16 %0, %1;" : "=f"(value) : "h"(half));
    return value;
#else
    const int exponent = (half >> 10) & 0x1f, fraction = half & 0x3ff;
    const float sign = (half & 0x8000) ? -1.0f : 1.0f;
    if (exponent == 31) return fraction ? NAN : sign * INFINITY;
    if (exponent == 0) return sign * ldexpf(static_cast<float>(fraction), -24);
    return sign * ldexpf(static_cast<float>(fraction | 0x400), exponent - 25);
#endif
}

// BT.601, 16..235, in OpenCV's 20-bit fixed point.
FRAME_FN Rgb rgb_from_yuv(int y, int u, int v) {
    const int luma = (y > 16 ? y - 16 : 0) * 1220542 + (1 << 19);
    u -= 128;
    v -= 128;
    const Rgb rgb = {clamp_int((luma + 1673527 * v) >> 20, 0, 255),
                     clamp_int((luma - 852492 * v - 409993 * u) >> 20, 0, 255),
                     clamp_int((luma + 2116026 * u) >> 20, 0, 255)};
    return rgb;
}

// A sample as a byte; one of two bytes, the lower first and at any address, goes through the table.
template <int BYTES>
FRAME_FN int sample_at(const Camera& camera, const Byte* at) {
    return BYTES == 1 ? at[0] : camera.table[at[0] | at[1] << 8];
}

// Bilinear demosaicing as OpenCV does it: the outermost pixels repeat their inner neighbours. ``pattern`` is the
// encoding of one byte a sample.
template <int BYTES>
FRAME_FN Rgb rgb_from_bayer(const Camera& camera, int pattern, int row, int column) {
    row = clamp_int(row, 1, camera.height - 2);
    column = clamp_int(column, 1, camera.width - 2);
    const Byte* here = camera.data + static_cast<long long>(row) * camera.step + column * BYTES;
    const Byte *above = here - camera.step, *below = here + camera.step;
    const int own = sample_at<BYTES>(camera, here);
    const int beside = sample_at<BYTES>(camera, here - BYTES) + sample_at<BYTES>(camera, here + BYTES);
    const int over = sample_at<BYTES>(camera, above) + sample_at<BYTES>(camera, below);
    const int diagonal = sample_at<BYTES>(camera, above - BYTES) + sample_at<BYTES>(camera, above + BYTES) +
                         sample_at<BYTES>(camera, below - BYTES) + sample_at<BYTES>(camera, below + BYTES);
    const int red_row = pattern == BAYER_BGGR8 || pattern == BAYER_GBRG8;
    const int red_column = pattern == BAYER_BGGR8 || pattern == BAYER_GRBG8;
    const bool on_red_row = (row & 1) == red_row, on_red_column = (column & 1) == red_column;
    if (on_red_row == on_red_column) {
        const int green = (beside + over + 2) >> 2, other = (diagonal + 2) >> 2;
        const Rgb rgb = {on_red_row ? own : other, green, on_red_row ? other : own};
        return rgb;
    }
    const int sideways = (beside + 1) >> 1, upright = (over + 1) >> 1;
    const Rgb rgb = {on_red_row ? sideways : upright, own, on_red_row ? upright : sideways};
    return rgb;
}

// RGB of a pixel of samples of two bytes, by where its red and its blue one lie.
FRAME_FN Rgb rgb_from_deep(const Camera& camera, const Byte* pixel, int red, int blue) {
    const Rgb rgb = {sample_at<2>(camera, pixel + 2 * red), sample_at<2>(camera, pixel + 2),
                     sample_at<2>(camera, pixel + 2 * blue)};
    return rgb;
}

// RGB of one camera pixel, 0..255 each.
FRAME_FN Rgb camera_pixel(const Camera& camera, int row, int column) {
    const Byte* line = camera.data + static_cast<long long>(row) * camera.step;
    switch (camera.encoding) {
        case RGB8: {
            const Byte* p = line + 3 * column;
            const Rgb rgb = {p[0], p[1], p[2]};
            return rgb;
        }
        case BGR8: {
            const Byte* p = line + 3 * column;
            const Rgb rgb = {p[2], p[1], p[0]};
            return rgb;
        }
        case RGBA8: {
            const Byte* p = line + 4 * column;
            const Rgb rgb = {p[0], p[1], p[2]};
            return rgb;
        }
        case BGRA8: {
            const Byte* p = line + 4 * column;
            const Rgb rgb = {p[2], p[1], p[0]};
            return rgb;
        }
        case MONO8: {
            const Rgb rgb = {line[column], line[column], line[column]};
            return rgb;
        }
        case UYVY: {
            const Byte* pair = line + 4 * (column >> 1);
            return rgb_from_yuv(pair[1 + 2 * (column & 1)], pair[0], pair[2]);
        }
        case YUYV: {
            const Byte* pair = line + 4 * (column >> 1);
            return rgb_from_yuv(pair[2 * (column & 1)], pair[1], pair[3]);
        }
        case NV12: {
            const Byte* pair =
                camera.data + static_cast<long long>(camera.height + (row >> 1)) * camera.step + (column & ~1);
            return rgb_from_yuv(line[column], pair[0], pair[1]);
        }
        case NV21: {
            const Byte* pair =
                camera.data + static_cast<long long>(camera.height + (row >> 1)) * camera.step + (column & ~1);
            return rgb_from_yuv(line[column], pair[1], pair[0]);
        }
        case NV24: {  // a row of colours is two rows of bytes long
            const Byte* pair = camera.data + static_cast<long long>(camera.height + 2 * row) * camera.step + 2 * column;
            return rgb_from_yuv(line[column], pair[0], pair[1]);
        }
        case RGB16:
            return rgb_from_deep(camera, line + 6 * column, 0, 2);
        case BGR16:
            return rgb_from_deep(camera, line + 6 * column, 2, 0);
        case RGBA16:
            return rgb_from_deep(camera, line + 8 * column, 0, 2);
        case BGRA16:
            return rgb_from_deep(camera, line + 8 * column, 2, 0);
        case MONO16: {
            const int grey = sample_at<2>(camera, line + 2 * column);
            const Rgb rgb = {grey, grey, grey};
            return rgb;
        }
        case BAYER_RGGB16:
        case BAYER_BGGR16:
        case BAYER_GBRG16:
        case BAYER_GRBG16:
            return rgb_from_bayer<2>(camera, camera.encoding - BAYER_RGGB16 + BAYER_RGGB8, row, column);
        default:
            return rgb_from_bayer<1>(camera, camera.encoding, row, column);
    }
}

// Camera pixels read where they are; the kernel has another reader for pixels in shared memory.
struct CameraPixels {
    const Camera& camera;
    FRAME_FN Rgb operator()(int row, int column) const { return camera_pixel(camera, row, column); }
};

FRAME_FN float rounded_byte(float value) { return fminf(fmaxf(floorf(value + 0.5f), 0.0f), 255.0f); }

FRAME_FN void store_network(const CameraJob& job, int channel, int row, int column, float value) {
    const long long at = (static_cast<long long>(channel) * job.out_height + row) * job.out_width + column;
    if (job.half_output) {
        static_cast<Half*>(job.network)[at] = half_from_float(value);
    } else {
        static_cast<float*>(job.network)[at] = value;
    }
}

// One pixel of the network's input: filter, round to a byte as the CPU path does, normalise, store three planes.
template <class Pixels>
FRAME_FN void network_pixel(const CameraJob& job, const Pixels& pixels, int row, int column) {
    float r = 0.0f, g = 0.0f, b = 0.0f;
    const int first_row = job.first_row[row], first_column = job.first_column[column];
    for (int i = 0; i < job.row_taps; ++i) {
        const float row_weight = job.row_weights[row * job.row_taps + i];
        if (row_weight == 0.0f) continue;  // such a pixel may lie beyond the edge
        float line_r = 0.0f, line_g = 0.0f, line_b = 0.0f;
        for (int j = 0; j < job.column_taps; ++j) {
            const float weight = job.column_weights[column * job.column_taps + j];
            if (weight == 0.0f) continue;
            const Rgb rgb = pixels(first_row + i, first_column + j);
            line_r += weight * rgb.r;
            line_g += weight * rgb.g;
            line_b += weight * rgb.b;
        }
        if (job.round_rows) {
            line_r = rounded_byte(line_r);
            line_g = rounded_byte(line_g);
            line_b = rounded_byte(line_b);
        }
        r += row_weight * line_r;
        g += row_weight * line_g;
        b += row_weight * line_b;
    }
    store_network(job, 0, row, column, rounded_byte(r) * job.scale[0] + job.offset[0]);
    store_network(job, 1, row, column, rounded_byte(g) * job.scale[1] + job.offset[1]);
    store_network(job, 2, row, column, rounded_byte(b) * job.scale[2] + job.offset[2]);
}

// Re-weighted logit of one class at one stride sample.
FRAME_FN float score_at(const LabelJob& job, int k, int row, int column) {
    const long long at = (static_cast<long long>(k) * job.stride_height + row) * job.stride_width + column;
    const float logit =
        job.half_logits ? float_from_half(static_cast<const Half*>(job.logits)[at]) : static_cast<const float*>(job.logits)[at];
    return logit * job.factor[k] + job.offset[k];
}

// All scores are looked at once, whichever of them the pixels need: thread ``first`` of ``threads`` takes its share.
FRAME_FN void check_scores(const LabelJob& job, int first, int threads) {
    if (!job.not_finite) return;
    const int samples = job.stride_height * job.stride_width;
    for (int i = first; i < samples * job.classes; i += threads) {
        const int k = i / samples, sample = i % samples;
        const float score = score_at(job, k, sample / job.stride_width, sample % job.stride_width);
        if (!(fabsf(score) <= LARGEST_SCORE)) *job.not_finite = 1;  // NaN fails every comparison
    }
}

// Scores read where the logits are; the kernel has another reader for scores in shared memory.
struct StrideScores {
    const LabelJob& job;
    FRAME_FN float operator()(int k, int row, int column) const { return score_at(job, k, row, column); }
};

// Rows first, then columns, as the NumPy path does.
FRAME_FN float between(float a, float b, float c, float d, float down, float right) {
    const float left_edge = a + (c - a) * down, right_edge = b + (d - b) * down;
    return left_edge + (right_edge - left_edge) * right;
}

// Class with the highest interpolated score; its likelihood too where somebody wants it.
template <class Scores>
FRAME_FN PixelResult label_pixel(const LabelJob& job, const Scores& scores, int row, int column, bool with_confidence) {
    const int top = job.low_row[row], left = job.low_column[column];
    const int bottom = clamp_int(top + 1, 0, job.stride_height - 1), right = clamp_int(left + 1, 0, job.stride_width - 1);
    const float down = job.row_fraction[row], across = job.column_fraction[column];
    PixelResult result = {0, 1.0f};
    float best = LOWEST, max_a = LOWEST, max_b = LOWEST, max_c = LOWEST, max_d = LOWEST;
    for (int k = 0; k < job.classes; ++k) {
        const float a = scores(k, top, left), b = scores(k, top, right);
        const float c = scores(k, bottom, left), d = scores(k, bottom, right);
        const float value = between(a, b, c, d, down, across);
        if (value > best) {
            best = value;
            result.label = k;
        }
        max_a = fmaxf(max_a, a);
        max_b = fmaxf(max_b, b);
        max_c = fmaxf(max_c, c);
        max_d = fmaxf(max_d, d);
    }
    if (!with_confidence) return result;
    // Softmax does not see what all classes share: with each sample's best score at 0 no exponential overflows.
    float sum = 0.0f, highest = 0.0f;
    for (int k = 0; k < job.classes; ++k) {
        const float a = fmaxf(scores(k, top, left) - max_a, EXP_FLOOR);
        const float b = fmaxf(scores(k, top, right) - max_b, EXP_FLOOR);
        const float c = fmaxf(scores(k, bottom, left) - max_c, EXP_FLOOR);
        const float d = fmaxf(scores(k, bottom, right) - max_d, EXP_FLOOR);
        const float likelihood = expf(between(a, b, c, d, down, across));
        sum += likelihood;
        highest = fmaxf(highest, likelihood);
    }
    result.confidence = highest / sum;
    return result;
}

FRAME_FN bool wants_confidence(const LabelJob& job) {
    return job.confidence || job.confidence_bytes || job.min_confidence > 0.0f;
}

FRAME_FN Byte blend(int picture, int color, float alpha) {
    return static_cast<Byte>(fminf(fmaxf(rintf(picture * (1.0f - alpha) + color * alpha), 0.0f), 255.0f));
}

// One pixel of every output that somebody wants.
template <class Scores>
FRAME_FN void output_pixel(const LabelJob& job, const Scores& scores, int row, int column) {
    const PixelResult result = label_pixel(job, scores, row, column, wants_confidence(job));
    const int label = result.confidence < job.min_confidence ? UNKNOWN : result.label;
    const long long at = static_cast<long long>(row) * job.camera.width + column;
    if (job.labels) job.labels[at] = static_cast<Byte>(label);
    if (job.confidence) job.confidence[at] = result.confidence;
    if (job.confidence_bytes) job.confidence_bytes[at] = static_cast<Byte>(rounded_byte(result.confidence * 255.0f));
    const Byte* color = job.colors + 3 * label;
    if (job.color) {
        for (int i = 0; i < 3; ++i) job.color[3 * at + i] = color[i];
    }
    if (job.overlay) {
        const Rgb rgb = camera_pixel(job.camera, row, column);
        job.overlay[3 * at] = blend(rgb.r, color[0], job.alpha);
        job.overlay[3 * at + 1] = blend(rgb.g, color[1], job.alpha);
        job.overlay[3 * at + 2] = blend(rgb.b, color[2], job.alpha);
    }
}

#endif
