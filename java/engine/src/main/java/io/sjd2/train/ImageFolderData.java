package io.sjd2.train;

import io.sjd2.io.ModelFormatException;
import io.sjd2.io.PngReader;
import io.sjd2.tensor.RgbImage;
import io.sjd2.tokenizer.Tokenizer;
import io.sjd2.vq.ImageTokenizer;
import java.io.IOException;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.ArrayList;
import java.util.List;
import java.util.stream.Stream;

/// A folder of pictures with captions: `name.png` beside `name.txt`, in the order of their names.
///
/// Pictures are cropped to the model's aspect ratio around their middle and resized to its size by averaging areas. All
/// of them become tokens when the folder is opened, so that a damaged file is found before training starts.
public final class ImageFolderData implements TrainingData {
    private static final String PICTURE = ".png";
    private static final String CAPTION = ".txt";

    private final List<Example> examples;

    private ImageFolderData(List<Example> examples) {
        this.examples = examples;
    }

    /// Reads a folder.
    ///
    /// @param width  pixels of the model's pictures, as is `height`
    /// @throws ModelFormatException naming the file, if a picture has no caption or cannot be read
    /// @throws IllegalArgumentException if the folder holds no picture
    public static ImageFolderData open(Path folder, int width, int height, ImageTokenizer images, Tokenizer text)
            throws IOException {
        List<Path> pictures;
        try (Stream<Path> files = Files.list(folder)) {
            pictures = files.filter(f -> f.getFileName().toString().endsWith(PICTURE))
                    .sorted()
                    .toList();
        }
        if (pictures.isEmpty()) {
            throw new IllegalArgumentException(
                    folder + " holds no pictures; expected files name" + PICTURE + " beside name" + CAPTION);
        }
        List<Example> examples = new ArrayList<>();
        for (Path picture : pictures) {
            String name = picture.getFileName().toString();
            Path caption = picture.resolveSibling(name.substring(0, name.length() - PICTURE.length()) + CAPTION);
            if (!Files.isRegularFile(caption)) {
                throw new ModelFormatException(
                        picture.toString(), "has no caption", "write it to " + caption.getFileName() + " beside it");
            }
            RgbImage fitted = fit(PngReader.read(picture), width, height);
            examples.add(new Example(text.encode(Files.readString(caption).strip(), false), images.encode(fitted)));
        }
        return new ImageFolderData(examples);
    }

    @Override
    public long size() {
        return examples.size();
    }

    @Override
    public Example example(long index) {
        return examples.get(Math.toIntExact(index));
    }

    /// The middle of a picture at another size: each pixel is the mean of the area that it covers.
    static RgbImage fit(RgbImage image, int width, int height) {
        double scale = Math.min((double) image.width() / width, (double) image.height() / height);
        double left = (image.width() - width * scale) / 2;
        double top = (image.height() - height * scale) / 2;
        byte[] source = image.rgb();
        byte[] out = new byte[3 * width * height];
        for (int y = 0; y < height; y++) {
            double y0 = top + y * scale;
            for (int x = 0; x < width; x++) {
                double x0 = left + x * scale;
                double[] sums = new double[3];
                double area = 0;
                for (int sy = (int) y0; sy < Math.min(y0 + scale, image.height()); sy++) {
                    double h = Math.min(sy + 1, y0 + scale) - Math.max(sy, y0);
                    for (int sx = (int) x0; sx < Math.min(x0 + scale, image.width()); sx++) {
                        double a = h * (Math.min(sx + 1, x0 + scale) - Math.max(sx, x0));
                        area += a;
                        for (int c = 0; c < 3; c++) {
                            sums[c] += a * (source[3 * (sy * image.width() + sx) + c] & 0xff);
                        }
                    }
                }
                for (int c = 0; c < 3; c++) {
                    out[3 * (y * width + x) + c] = (byte) Math.round(sums[c] / area);
                }
            }
        }
        return new RgbImage(width, height, out);
    }
}
