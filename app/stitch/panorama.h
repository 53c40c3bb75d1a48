// Making one panorama of several photographs.
#pragma once

#include <functional>
#include <opencv2/core/mat.hpp>
#include <stdexcept>
#include <string>
#include <vector>

namespace stitch {

// The photos do not overlap enough. what() is a clause that names those that fit nowhere.
class NoOverlap : public std::runtime_error {
    using std::runtime_error::runtime_error;
};

// Stitches `photos`, given in any order, and crops the result to a rectangle without black corners.
// Calls `stage` with "matching" and "composing" as each begins. The same photos give the same picture.
cv::Mat make_panorama(const std::vector<cv::Mat>& photos,
                      const std::function<void(const std::string&)>& stage);

}  // namespace stitch
