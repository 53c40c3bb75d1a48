// What the two picture formats share.
#pragma once

#include <cstdint>
#include <cstdio>

#include "picture.h"

namespace stitch {

cv::Mat read_jpeg(std::FILE* file, std::size_t max_pixels);
cv::Mat read_png(std::FILE* file, std::size_t max_pixels);
void encode_jpeg(std::FILE* file, const cv::Mat& picture, int quality);

inline bool fits(std::uint32_t width, std::uint32_t height, std::size_t max_pixels) {
    return std::uint64_t{width} * height <= max_pixels;
}

[[noreturn]] void throw_too_large(std::uint32_t width, std::uint32_t height, std::size_t max_pixels);

}  // namespace stitch
