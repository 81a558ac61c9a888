// The letterbox on the GPU: rows of a camera's picture (BGR, 8 bits) into one picture of the engine's input, padding
// included, as cv2.resize does it with INTER_LINEAR.
//
// All of OpenCV's floating point is in the taps, which the host prepares (gpu_letterbox.py). What is left is whole
// numbers, the same on every machine: so the tests build this file with a C++ compiler and compare it with OpenCV.

// Where a column or a row of the result comes from: two of the staged picture (offsets in bytes), their weights in 1/2048.
struct Tap { int first, second, first_weight, second_weight; };

// OpenCV's sums of a row lose four bits before they meet the column's weights, and each of those products sixteen.
__device__ inline int interpolated(const unsigned char *upper, const unsigned char *lower, Tap across, Tap down)
{
    int above = upper[across.first] * across.first_weight + upper[across.second] * across.second_weight;
    int below = lower[across.first] * across.first_weight + lower[across.second] * across.second_weight;
    return ((((above >> 4) * down.first_weight) >> 16) + (((below >> 4) * down.second_weight) >> 16) + 2) >> 2;
}

// One thread a pixel of the result.
// staged: inner_width taps of the columns, inner_height taps of the rows, then the pixels that they point into.
// result: [height, width, 3]; the picture lies in it at left, top, the rest becomes pad.
template <typename Value>
__device__ inline void letterbox(const unsigned char *staged, Value *result, int width, int height,
                                 int left, int top, int inner_width, int inner_height, int pad)
{
    int x = blockIdx.x * blockDim.x + threadIdx.x;
    int y = blockIdx.y * blockDim.y + threadIdx.y;
    if (x >= width || y >= height)
        return;
    Value *pixel = result + 3 * (y * width + x);
    int column = x - left, row = y - top;
    if (column < 0 || column >= inner_width || row < 0 || row >= inner_height) {
        for (int channel = 0; channel < 3; ++channel)
            pixel[channel] = (Value)pad;
        return;
    }
    const Tap *taps = (const Tap *)staged;
    Tap across = taps[column], down = taps[inner_width + row];
    const unsigned char *pixels = (const unsigned char *)(taps + inner_width + inner_height);
    for (int channel = 0; channel < 3; ++channel)
        pixel[channel] = (Value)interpolated(pixels + down.first + channel, pixels + down.second + channel, across, down);
}

extern "C" __global__ void letterbox_uint8(const unsigned char *staged, unsigned char *result, int width, int height,
                                           int left, int top, int inner_width, int inner_height, int pad)
{
    letterbox(staged, result, width, height, left, top, inner_width, inner_height, pad);
}

extern "C" __global__ void letterbox_float32(const unsigned char *staged, float *result, int width, int height,
                                             int left, int top, int inner_width, int inner_height, int pad)
{
    letterbox(staged, result, width, height, left, top, inner_width, inner_height, pad);
}
