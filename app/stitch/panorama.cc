#include "panorama.h"

#include <algorithm>
#include <opencv2/core.hpp>
#include <opencv2/stitching.hpp>

namespace stitch {
namespace {

constexpr int kSeed = 1;  // RANSAC draws at random: the same photos shall give the same picture

// Names, counted from 1, the photos that the stitcher could not place.
std::string left_out(std::size_t count, const std::vector<int>& placed) {
    std::string names;
    for (std::size_t i = 0; i < count; ++i) {
        if (std::find(placed.begin(), placed.end(), static_cast<int>(i)) == placed.end()) {
            names += (names.empty() ? "" : ", ") + std::to_string(i + 1);
        }
    }
    return names;
}

// Warping leaves black corners. The largest rectangle inside the mask is cut out: the classic
// scan over rows with a stack of column heights ("largest rectangle in a histogram").
cv::Rect largest_rectangle(const cv::Mat& mask) {
    std::vector<int> heights(static_cast<std::size_t>(mask.cols) + 1, 0);
    cv::Rect best;
    for (int y = 0; y < mask.rows; ++y) {
        const auto* row = mask.ptr<unsigned char>(y);
        for (int x = 0; x < mask.cols; ++x) {
            auto& height = heights[static_cast<std::size_t>(x)];
            height = row[x] != 0 ? height + 1 : 0;
        }
        std::vector<std::size_t> stack;
        for (std::size_t x = 0; x < heights.size(); ++x) {
            while (!stack.empty() && heights[stack.back()] >= heights[x]) {
                const int height = heights[stack.back()];
                stack.pop_back();
                const int left = stack.empty() ? 0 : static_cast<int>(stack.back()) + 1;
                const cv::Rect found(left, y - height + 1, static_cast<int>(x) - left, height);
                if (found.area() > best.area()) best = found;
            }
            stack.push_back(x);
        }
    }
    return best;
}

}  // namespace

cv::Mat make_panorama(const std::vector<cv::Mat>& photos,
                      const std::function<void(const std::string&)>& stage) {
    cv::setRNGSeed(kSeed);
    cv::Ptr<cv::Stitcher> stitcher = cv::Stitcher::create(cv::Stitcher::PANORAMA);
    stage("matching");
    const cv::Stitcher::Status matched = stitcher->estimateTransform(photos);
    const std::string outside = left_out(photos.size(), stitcher->component());
    if (matched != cv::Stitcher::OK) {
        throw NoOverlap("the photos do not overlap enough");
    }
    if (!outside.empty()) {
        throw NoOverlap("photo " + outside + " does not overlap the others enough");
    }
    stage("composing");
    cv::Mat picture;
    if (stitcher->composePanorama(picture) != cv::Stitcher::OK) {
        throw NoOverlap("the photos do not fit together");
    }
    const cv::Mat mask = stitcher->resultMask().getMat(cv::ACCESS_READ);
    const cv::Rect clean = largest_rectangle(mask);
    if (clean.empty()) throw NoOverlap("the photos do not fit together");
    return picture(clean).clone();
}

}  // namespace stitch
