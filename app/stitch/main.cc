// stitch: makes one panorama of overlapping photographs.
//
// A program of its own, for it parses strangers' pictures: who calls it bounds
// its time, memory and files.
#include <cstdio>
#include <cstring>
#include <new>
#include <opencv2/core.hpp>
#include <string>
#include <vector>

#include "panorama.h"
#include "picture.h"

namespace {

enum Exit { kDone = 0, kInternal = 1, kUsage = 2, kBadPicture = 3, kNoOverlap = 4, kCannotWrite = 5 };

constexpr std::size_t kMaxPixels = 40'000'000;  // of one photo; phones make 12 to 48 megapixels
constexpr int kQuality = 92;

constexpr const char* kHelp =
    "usage: stitch OUTPUT.jpg PHOTO PHOTO...\n"
    "\n"
    "Makes one panorama of overlapping photographs (JPEG or PNG, at most 40 megapixels each)\n"
    "and writes it to OUTPUT.jpg, whole or not at all. Prints each stage as it begins:\n"
    "reading, matching, composing, writing, then \"done WIDTHxHEIGHT\".\n"
    "\n"
    "exit status: 0 done, 1 internal error or no memory, 2 usage, 3 a photo is no usable\n"
    "picture, 4 the photos do not overlap enough, 5 OUTPUT.jpg cannot be written\n";

void stage(const std::string& name) {
    std::printf("%s\n", name.c_str());
    std::fflush(stdout);
}

int fail(Exit status, const std::string& reason) {
    std::fprintf(stderr, "stitch: %s\n", reason.c_str());
    return status;
}

int run(const std::string& output, const std::vector<std::string>& inputs) {
    std::vector<cv::Mat> photos;
    stage("reading");
    for (std::size_t i = 0; i < inputs.size(); ++i) {
        try {
            photos.push_back(stitch::read_picture(inputs[i], kMaxPixels));
        } catch (const stitch::BadPicture& error) {
            return fail(kBadPicture, "cannot use photo " + std::to_string(i + 1) + ": " + error.what());
        }
    }
    try {
        const cv::Mat picture = stitch::make_panorama(photos, stage);
        stage("writing");
        stitch::write_jpeg(output, picture, kQuality);
        stage("done " + std::to_string(picture.cols) + "x" + std::to_string(picture.rows));
    } catch (const stitch::NoOverlap& error) {
        return fail(kNoOverlap, std::string("cannot stitch: ") + error.what() +
                                    "; take them with a third of each in the next");
    } catch (const stitch::CannotWrite& error) {
        return fail(kCannotWrite, "cannot write " + output + ": " + error.what());
    }
    return kDone;
}

}  // namespace

int main(int argc, char** argv) {
    if (argc == 2 && std::strcmp(argv[1], "--help") == 0) {
        std::fputs(kHelp, stdout);
        return kDone;
    }
    if (argc == 2 && std::strcmp(argv[1], "--version") == 0) {
        std::printf("stitch, OpenCV %s\n", CV_VERSION);
        return kDone;
    }
    if (argc < 4) {
        std::fputs(kHelp, stderr);
        return kUsage;
    }
    try {
        return run(argv[1], std::vector<std::string>(argv + 2, argv + argc));
    } catch (const std::bad_alloc&) {
        return fail(kInternal, "cannot stitch: not enough memory; send fewer or smaller photos");
    } catch (const cv::Exception& error) {
        return error.code == cv::Error::StsNoMem
                   ? fail(kInternal, "cannot stitch: not enough memory; send fewer or smaller photos")
                   : fail(kInternal, "cannot stitch: " + error.err);
    } catch (const std::exception& error) {
        return fail(kInternal, std::string("cannot stitch: ") + error.what());
    }
}
