// The orientation tag of a JPEG's EXIF block.
#pragma once

#include <cstddef>
#include <cstdint>
#include <opencv2/core/mat.hpp>

namespace stitch {

// Returns the orientation (1 to 8) that the APP1 segment `data` states, 1 if it states none.
// Exif 2.32, section 4.6.4, tag 0x0112. Never reads outside `data`.
int exif_orientation(const std::uint8_t* data, std::size_t size);

// Turns `picture` upright from `orientation` (1 to 8).
cv::Mat upright(const cv::Mat& picture, int orientation);

}  // namespace stitch
